// Loading and launching of kernels, which are shared libraries here where a device has machine code.
#pragma once

#include <dlfcn.h>
#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "launch.h"
#include "memory.hpp"

struct Kernel {
  RunKernel run;
  std::string name, file;      // file: of the PTX, whose lines faults name
  std::vector<uint64_t> sizes; // of the parameters, in bytes
};

// Return the kernel of a library that lies in memory, null if it is none.
inline Kernel *load_kernel(const void *image) {
  auto *header = (const Elf64_Ehdr *)image;
  if (memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_type != ET_DYN) return nullptr;
  uint64_t size = header->e_shoff + (uint64_t)header->e_shnum * header->e_shentsize; // the section headers come last
  char name[] = "/tmp/kernelXXXXXX"; // libraries of one name would be taken for one
  int file = mkstemp(name);
  bool complete = file >= 0 && write(file, image, size) == (ssize_t)size;
  void *library = complete ? dlopen(name, RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (file >= 0) close(file), unlink(name);
  if (!library || !dlsym(library, "run")) return nullptr;
  auto *sizes = (const int *)dlsym(library, "parameter_sizes");
  int count = *(const int *)dlsym(library, "parameter_count");
  return new Kernel{(RunKernel)dlsym(library, "run"), (const char *)dlsym(library, "kernel_name"),
                    (const char *)dlsym(library, "ptx_file"), std::vector<uint64_t>(sizes, sizes + count)};
}

// The values of a launch's parameters, copied when it is submitted.
struct Values {
  std::vector<uint64_t> words;
  Values(const Kernel &kernel, void **parameters) : words(kernel.sizes.size()) {
    for (size_t i = 0; i < words.size(); i++) memcpy(&words[i], parameters[i], kernel.sizes[i]);
  }

  // Return the bytes of the array whose address is parameter `place`, 0 if they are not known. numba-cuda passes an array
  // as: two null pointers, number of elements, bytes of an element, address, shape, strides. Arrays with gaps are not known.
  uint64_t bytes_of_array(size_t place) const {
    if (place < 2) return 0;
    uint64_t count = words[place - 2], element = words[place - 1];
    for (size_t axes = 1; axes <= 4 && place + 2 * axes < words.size(); axes++) {
      const uint64_t *shape = &words[place + 1], *strides = shape + axes;
      uint64_t stride = element;
      bool contiguous = element > 0;
      for (size_t axis = axes; axis-- > 0; stride *= shape[axis]) contiguous &= strides[axis] == stride;
      if (contiguous && stride == count * element) return stride;
    }
    return 0;
  }
};

// Shadows of the allocations that one launch uses; see launch.h.
class Shadows {
 public:
  ~Shadows() {
    for (auto &[first, array] : shadows) free(array.writer), free(array.reader);
  }

  // Return what the launch may use of an allocation from an address on: `bytes`, or all of the allocation if that is 0.
  Array array(Allocation &held, uint64_t address, uint64_t bytes) {
    Array &shadow = shadows[held.first];
    if (!shadow.writer) {
      shadow.writer = (uint32_t *)calloc(held.size, sizeof(uint32_t));
      shadow.reader = (uint32_t *)calloc(held.size, sizeof(uint32_t));
    }
    Array found = shadow;
    found.allocation = held.first;
    found.written = held.written.data();
    bool known = bytes && held.holds(address, bytes);
    found.first = known ? address : held.first;
    found.end = known ? address + bytes : held.first + held.size;
    return found;
  }

 private:
  std::map<uint64_t, Array> shadows;
};

// Run a kernel; return its fault, or an empty text.
inline std::string run_kernel(const Kernel &kernel, const uint32_t (&grid)[3], const uint32_t (&block)[3], Values values,
                              int device, Memory &memory) {
  Shadows shadows;
  std::vector<Array> arrays;
  std::vector<void *> parameters;
  for (size_t i = 0; i < values.words.size(); i++) {
    parameters.push_back(&values.words[i]);
    Allocation *held = kernel.sizes[i] == sizeof(uint64_t) ? memory.find(values.words[i]) : nullptr;
    if (held && held->device == device) arrays.push_back(shadows.array(*held, values.words[i], values.bytes_of_array(i)));
  }
  char fault[FAULT_LENGTH] = "";
  Launch launch{{grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, parameters.data(),
                arrays.data(), (int)arrays.size(), fault};
  return kernel.run(&launch) ? std::string(fault) + " of " + kernel.file : "";
}
