/* Accesses to memory by a translated kernel, with the checks that a device does not make.

Threads run one after the other, each to its end, and the kernels have no barriers. Two threads of a launch
that use the same byte, one of them to write, therefore race on a device, whatever the order is here. */
#include <stdio.h>
#include <string.h>

#include "launch.h"

static Launch launch;
static uint32_t thread_number; /* within the launch, from 1 */
static uint32_t tid_x, tid_y, tid_z, ctaid_x, ctaid_y, ctaid_z;

/* Shared memory of the current block and local memory of the current thread; sizes are the kernel's. Shadows
   have the thread that wrote a byte, and whether it was written. */
static uint8_t *shared_memory, *local_memory;
static uint64_t shared_size, local_size;
static uint32_t *shared_writer;
static uint8_t *local_written;

static uint8_t nowhere[16]; /* is used in place of what a kernel must not touch */

static void report(const char *what, uint64_t address, int line) {
  if (!launch.fault[0])
    snprintf(launch.fault, FAULT_LENGTH, "%s at 0x%llx by thread (%u, %u, %u) of block (%u, %u, %u), PTX line %d", what,
             (unsigned long long)address, tid_x, tid_y, tid_z, ctaid_x, ctaid_y, ctaid_z, line);
}

static void *in_local(uint64_t address, int size, int store, int line) {
  uint8_t *written = local_written + ((uint8_t *)address - local_memory);
  for (int i = 0; i < size; i++) {
    if (store) written[i] = 1;
    else if (!written[i]) report("read of uninitialised local memory", address, line);
  }
  return (void *)address;
}

static void *in_shared(uint64_t address, int size, int store, int line) {
  uint32_t *writer = shared_writer + ((uint8_t *)address - shared_memory);
  for (int i = 0; i < size; i++) {
    if (writer[i] && writer[i] != thread_number) report("race in shared memory", address, line);
    else if (!store && !writer[i]) report("read of uninitialised shared memory", address, line);
    if (store) writer[i] = thread_number;
  }
  return (void *)address;
}

static void *in_array(const Array *array, uint64_t address, int size, int store, int line) {
  for (uint64_t at = address - array->allocation, end = at + size; at < end; at++) {
    uint32_t writer = array->writer[at], *reader = &array->reader[at];
    if (writer && writer != thread_number)
      report(store ? "race (two threads write)" : "race (read of what another thread writes)", address, line);
    if (store) {
      if (*reader && *reader != thread_number) report("race (write of what another thread reads)", address, line);
      array->writer[at] = thread_number;
      array->written[at] = 1;
    } else {
      if (!array->written[at]) report("read of uninitialised device memory", address, line);
      *reader = *reader && *reader != thread_number ? SEVERAL : thread_number;
    }
  }
  return (void *)address;
}

/* Return where `size` bytes at an address are; report a fault if the thread must not use them so. */
static void *checked(uint64_t address, int size, int store, int line) {
  const uint8_t *byte = (const uint8_t *)address;
  if (byte >= local_memory && byte + size <= local_memory + local_size) return in_local(address, size, store, line);
  if (byte >= shared_memory && byte + size <= shared_memory + shared_size) return in_shared(address, size, store, line);
  for (int k = 0; k < launch.array_count; k++) {
    const Array found = launch.arrays[k];
    if (address < found.first || address + size > found.end) continue;
    if (k) { /* the next access will most likely be to the same array */
      launch.arrays[k] = launch.arrays[0];
      launch.arrays[0] = found;
    }
    return in_array(&found, address, size, store, line);
  }
  report(store ? "write out of bounds" : "read out of bounds", address, line);
  return nowhere;
}

/* Return an address, which must be a multiple of `size`, also that of a vector of values. */
static uint64_t aligned(uint64_t address, int size, int line) {
  if (address % size) report("misaligned access", address, line);
  return address;
}

/* Values may lie at odd addresses after a fault was reported, so that they are copied. */
#define LOAD(type, address, line) \
  ({ type value_; memcpy(&value_, checked(address, sizeof value_, 0, line), sizeof value_); value_; })
#define STORE(type, address, value, line) \
  do { type value_ = (type)(value); memcpy(checked(address, sizeof value_, 1, line), &value_, sizeof value_); } while (0)

static void thread(void);

/* Run all threads of a launch; return whether there was a fault. */
static int run_threads(const Launch *given) {
  launch = *given;
  thread_number = 0;
  const uint32_t *grid = launch.grid, *block = launch.block;
  for (ctaid_z = 0; ctaid_z < grid[2]; ctaid_z++)
    for (ctaid_y = 0; ctaid_y < grid[1]; ctaid_y++)
      for (ctaid_x = 0; ctaid_x < grid[0]; ctaid_x++) {
        memset(shared_writer, 0, sizeof *shared_writer * shared_size);
        for (tid_z = 0; tid_z < block[2]; tid_z++)
          for (tid_y = 0; tid_y < block[1]; tid_y++)
            for (tid_x = 0; tid_x < block[0]; tid_x++) {
              thread_number++;
              memset(local_written, 0, local_size);
              thread();
              if (launch.fault[0]) return 1;
            }
      }
  return 0;
}
