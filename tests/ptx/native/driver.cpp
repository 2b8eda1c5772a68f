// A CUDA driver without a device: the functions of libcuda.so.1 that numba-cuda calls, over the memory of the host.
//
// Names and numbers are those of NVIDIA, "CUDA Driver API". A fault in a kernel or a copy is an error that stays, as on
// a device, until `emulator_take_fault` is called.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "memory.hpp"
#include "streams.hpp"

enum Result {
  SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801,
};
#define API extern "C" __attribute__((visibility("default"))) Result

static uint64_t number_from(const char *variable, uint64_t otherwise) {
  const char *text = getenv(variable);
  return text ? strtoull(text, nullptr, 10) : otherwise;
}

static std::recursive_mutex one_at_a_time;
#define LOCK std::lock_guard<std::recursive_mutex> locked(one_at_a_time)

static std::vector<std::string> faults;
static Memory memory(number_from("PTX_EMULATOR_MIB", 4096) << 20);
static Streams streams([](const std::string &fault) { faults.push_back(fault); });

static Result state() { return faults.empty() ? SUCCESS : ILLEGAL_ADDRESS; }

// The emulator's own function: finish all work, and take away the oldest fault; return whether there was one.
extern "C" __attribute__((visibility("default"))) int emulator_take_fault(char *text, int length) {
  LOCK;
  streams.finish_all();
  if (faults.empty()) return 0;
  snprintf(text, length, "%s", faults.front().c_str());
  faults.erase(faults.begin());
  return 1;
}

// Devices and contexts. Each device has one context, whose handle is the device's number plus 1.

static int device_count() { return (int)number_from("PTX_EMULATOR_DEVICES", 1); }
static thread_local std::vector<uint64_t> contexts;
static uint64_t current_context() { return contexts.empty() ? 0 : contexts.back(); }
static int current_device() { return current_context() ? (int)current_context() - 1 : 0; }

API cuInit(unsigned) { return device_count() ? SUCCESS : NO_DEVICE; }
API cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
API cuDeviceGetCount(int *count) { *count = device_count(); return SUCCESS; }
API cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal < device_count() ? SUCCESS : INVALID_DEVICE; }
API cuDeviceGetName(char *name, int length, int) { snprintf(name, length, "PTX emulator"); return SUCCESS; }
API cuDeviceGetUuid_v2(unsigned char *uuid, int device) { memset(uuid, device + 1, 16); return SUCCESS; }
API cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = memory.total; return SUCCESS; }
API cuDeviceGetAttribute(int *value, int attribute, int) {
  // Numbers of CUdevice_attribute; the values are those of an H100.
  static const std::map<int, int> values = {
      {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},   // threads of a block, along x, y and z
      {5, 2147483647}, {6, 65535}, {7, 65535},    // blocks of a grid along x, y and z
      {8, 49152}, {10, 32}, {12, 65536},          // shared memory of a block, threads of a warp, registers
      {16, 132}, {39, 2048}, {75, 9}, {76, 0},    // multiprocessors, their threads, compute capability
  };
  auto found = values.find(attribute);
  *value = found == values.end() ? 1 : found->second;
  return SUCCESS;
}

API cuDevicePrimaryCtxRetain(uint64_t *context, int device) { *context = device + 1; return SUCCESS; }
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API cuDevicePrimaryCtxReset_v2(int) { return SUCCESS; }
API cuDevicePrimaryCtxGetState(int, unsigned *flags, int *active) { *flags = 0; *active = 1; return SUCCESS; }
API cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return SUCCESS; }
API cuCtxPushCurrent_v2(uint64_t context) { contexts.push_back(context); return SUCCESS; }
API cuCtxPopCurrent_v2(uint64_t *context) {
  if (contexts.empty()) return INVALID_CONTEXT;
  *context = contexts.back();
  contexts.pop_back();
  return SUCCESS;
}
API cuCtxGetCurrent(uint64_t *context) { *context = current_context(); return SUCCESS; }
API cuCtxSetCurrent(uint64_t context) {
  if (!contexts.empty()) contexts.pop_back();
  if (context) contexts.push_back(context);
  return SUCCESS;
}
API cuCtxGetDevice(int *device) { *device = current_device(); return current_context() ? SUCCESS : INVALID_CONTEXT; }
API cuCtxGetId(uint64_t context, uint64_t *number) { *number = context; return SUCCESS; }
API cuCtxSynchronize() { LOCK; streams.finish_all(); return state(); }

// Memory.

API cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  LOCK;
  if (!current_context()) return INVALID_CONTEXT;
  if (!bytes) return INVALID_VALUE;
  *address = memory.allocate(bytes, current_device());
  return *address ? SUCCESS : OUT_OF_MEMORY;
}
API cuMemFree_v2(uint64_t address) {
  LOCK;
  streams.finish_all();
  return memory.release(address) ? SUCCESS : INVALID_VALUE;
}
API cuMemHostAlloc(void **address, size_t bytes, unsigned) { LOCK; *address = memory.allocate_pinned(bytes); return SUCCESS; }
API cuMemFreeHost(void *address) { LOCK; streams.finish_all(); memory.release_pinned(address); return SUCCESS; }
API cuMemGetInfo_v2(size_t *free, size_t *total) {
  LOCK;
  *free = memory.free_on(current_device());
  *total = memory.total;
  return SUCCESS;
}
API cuMemGetAddressRange_v2(uint64_t *first, size_t *bytes, uint64_t address) {
  LOCK;
  Allocation *held = memory.find(address);
  if (!held) return INVALID_VALUE;
  if (first) *first = held->first;
  if (bytes) *bytes = held->size;
  return SUCCESS;
}

static bool pointer_attribute(void *value, int attribute, uint64_t address) {
  switch (attribute) {
    case 1: *(uint64_t *)value = current_context(); return true;          // CONTEXT
    case 2: *(unsigned *)value = memory.find(address) ? 2 : 1; return true; // MEMORY_TYPE: of the device or the host
    case 3: *(uint64_t *)value = address; return true;                    // DEVICE_POINTER
    case 8: *(int *)value = 0; return true;                               // IS_MANAGED
    case 9: *(int *)value = current_device(); return true;                // DEVICE_ORDINAL
    default: return false;
  }
}
API cuPointerGetAttribute(void *value, int attribute, uint64_t address) {
  LOCK;
  return pointer_attribute(value, attribute, address) ? SUCCESS : NOT_SUPPORTED;
}
API cuPointerGetAttributes(unsigned count, int *attributes, void **values, uint64_t address) {
  LOCK;
  for (unsigned i = 0; i < count; i++)
    if (!pointer_attribute(values[i], attributes[i], address)) return NOT_SUPPORTED;
  return SUCCESS;
}

// Copies. Those without a stream wait for all work before them.

static Result submit(uint64_t stream, Streams::Work work) {
  if (state() == SUCCESS) streams.submit(stream, work);
  return state();
}
static Result finished(uint64_t stream) { streams.finish(stream); return state(); }

API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, uint64_t stream) {
  LOCK;
  if (memory.is_pinned(from)) return submit(stream, [=] { return memory.copy_to_device(to, from, bytes); });
  auto held = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
  return submit(stream, [=] { return memory.copy_to_device(to, held->data(), bytes); });
}
API cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
  LOCK;
  cuMemcpyHtoDAsync_v2(to, from, bytes, 0);
  return finished(0);
}
API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, uint64_t stream) {
  LOCK;
  Result result = submit(stream, [=] { return memory.copy_to_host(to, from, bytes); });
  return memory.is_pinned(to) ? result : finished(stream); // as a device does for memory that is not pinned
}
API cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
  LOCK;
  cuMemcpyDtoHAsync_v2(to, from, bytes, 0);
  return finished(0);
}
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, uint64_t stream) {
  LOCK;
  return submit(stream, [=] { return memory.copy_on_device(to, from, bytes); });
}
API cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) { return cuMemcpyDtoDAsync_v2(to, from, bytes, 0); }
API cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, uint64_t stream) {
  LOCK;
  return submit(stream, [=] { return memory.fill(to, value, bytes); });
}
API cuMemsetD8_v2(uint64_t to, unsigned char value, size_t bytes) { return cuMemsetD8Async(to, value, bytes, 0); }

// Streams and events.

API cuStreamCreate(uint64_t *stream, unsigned) { LOCK; *stream = streams.create(); return SUCCESS; }
API cuStreamCreateWithPriority(uint64_t *stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API cuStreamDestroy_v2(uint64_t stream) { LOCK; streams.destroy(stream); return state(); }
API cuStreamSynchronize(uint64_t stream) { LOCK; return finished(stream); }
API cuStreamQuery(uint64_t stream) { LOCK; return finished(stream); }
API cuStreamGetCtx(uint64_t, uint64_t *context) { *context = current_context(); return SUCCESS; }
API cuStreamIsCapturing(uint64_t, int *capturing) { *capturing = 0; return SUCCESS; }
API cuStreamWaitEvent(uint64_t, uint64_t, unsigned) { LOCK; streams.finish_all(); return state(); }

using Clock = std::chrono::steady_clock;

API cuEventCreate(Clock::time_point **event, unsigned) { *event = new Clock::time_point; return SUCCESS; }
API cuEventDestroy_v2(Clock::time_point *event) { LOCK; streams.finish_all(); delete event; return SUCCESS; }
API cuEventRecord(Clock::time_point *event, uint64_t stream) {
  LOCK;
  return submit(stream, [=] { *event = Clock::now(); return std::string(); });
}
API cuEventSynchronize(Clock::time_point *) { LOCK; streams.finish_all(); return state(); }
API cuEventQuery(Clock::time_point *) { LOCK; streams.finish_all(); return state(); }
API cuEventElapsedTime_v2(float *milliseconds, Clock::time_point *start, Clock::time_point *end) {
  *milliseconds = std::chrono::duration<float, std::milli>(*end - *start).count();
  return SUCCESS;
}

// Libraries, kernels and launches. A library has one kernel, so that one handle serves for library, kernel and function.

API cuLibraryLoadData(Kernel **library, const void *image, void *, void *, unsigned, void *, void *, unsigned) {
  LOCK;
  *library = load_kernel(image);
  if (!*library) fprintf(stderr, "PTX emulator: got a kernel that is not translated; PYTHONPATH must keep what run.py put there\n");
  return *library ? SUCCESS : INVALID_IMAGE;
}
API cuModuleLoadDataEx(Kernel **library, const void *image, unsigned, void *, void *) {
  return cuLibraryLoadData(library, image, nullptr, nullptr, 0, nullptr, nullptr, 0);
}
API cuLibraryUnload(Kernel *) { return SUCCESS; } // launches may still need it
API cuModuleUnload(Kernel *) { return SUCCESS; }
API cuLibraryGetKernel(Kernel **kernel, Kernel *library, const char *name) {
  *kernel = library;
  return library->name == name ? SUCCESS : NOT_FOUND;
}
API cuModuleGetFunction(Kernel **kernel, Kernel *library, const char *name) { return cuLibraryGetKernel(kernel, library, name); }
API cuLibraryGetGlobal(uint64_t *, size_t *, Kernel *, const char *) { return NOT_FOUND; }
API cuKernelGetFunction(Kernel **function, Kernel *kernel) { *function = kernel; return SUCCESS; }
API cuFuncGetAttribute(int *value, int attribute, Kernel *) { *value = attribute == 0 ? 1024 : 0; return SUCCESS; } // 0: most threads
API cuKernelGetAttribute(int *value, int attribute, Kernel *kernel, int) { return cuFuncGetAttribute(value, attribute, kernel); }
API cuKernelSetAttribute(int, int, Kernel *, int) { return SUCCESS; }

API cuLaunchKernel(Kernel *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned, uint64_t stream, void **parameters, void **) {
  LOCK;
  uint64_t threads = (uint64_t)block_x * block_y * block_z, blocks = (uint64_t)grid_x * grid_y * grid_z;
  if (!blocks || grid_x > 2147483647u || grid_y > 65535 || grid_z > 65535) return INVALID_VALUE;
  if (!threads || threads > 1024 || block_z > 64) return INVALID_VALUE;
  Values values(*kernel, parameters);
  int device = current_device();
  return submit(stream, [=] {
    return run_kernel(*kernel, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, values, device, memory);
  });
}
struct Config {
  unsigned grid[3], block[3], shared_bytes;
  uint64_t stream;
};
API cuLaunchKernelEx(const Config *to, Kernel *kernel, void **parameters, void **) {
  return cuLaunchKernel(kernel, to->grid[0], to->grid[1], to->grid[2], to->block[0], to->block[1], to->block[2],
                        to->shared_bytes, to->stream, parameters, nullptr);
}

// Errors, and the addresses of all functions above.

API cuGetErrorName(Result error, const char **name) {
  static const std::map<Result, const char *> names = {
      {SUCCESS, "CUDA_SUCCESS"}, {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
      {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"}, {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},
      {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"}, {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
      {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"}, {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED"},
  };
  *name = names.at(error);
  return SUCCESS;
}
API cuGetErrorString(Result error, const char **text) { return cuGetErrorName(error, text); }
API cuProfilerStart() { return SUCCESS; }
API cuProfilerStop() { return SUCCESS; }

static Result not_emulated() {
  fprintf(stderr, "PTX emulator: a function of the CUDA driver was called that is not emulated\n");
  return NOT_SUPPORTED;
}
API cuGetProcAddress_v2(const char *name, void **function, int, uint64_t, int *status) {
  static void *self = [] {
    Dl_info info;
    dladdr((void *)&cuInit, &info);
    return dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  }();
  *function = dlsym(self, (std::string(name) + "_v2").c_str());
  if (!*function) *function = dlsym(self, name);
  if (!*function) *function = (void *)not_emulated;
  if (status) *status = 0;
  return SUCCESS;
}
API cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
