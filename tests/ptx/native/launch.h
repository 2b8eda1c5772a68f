/* What the driver hands to a translated kernel. Both sides include this file. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include <stdint.h>

#define FAULT_LENGTH 400

/* An array that a launch may use, and what is known of each byte of the allocation that it lies in. */
typedef struct {
  uint64_t first, end;       /* the array's bytes */
  uint64_t allocation;       /* first byte of the allocation, to which the shadows below belong */
  uint8_t *written;          /* whether the byte has ever been written */
  uint32_t *writer, *reader; /* thread of this launch, from 1, that did so; see SEVERAL */
} Array;

/* As a reader: more than one thread. */
#define SEVERAL 0xFFFFFFFFu

typedef struct {
  uint32_t grid[3], block[3];
  void **parameters; /* one pointer for each parameter of the kernel */
  Array *arrays;
  int array_count;
  char *fault; /* FAULT_LENGTH bytes for the first fault, empty if there is none */
} Launch;

/* What the shared library of a kernel exports, besides `kernel_name` and `parameter_count`. */
typedef int (*RunKernel)(const Launch *);

#endif
