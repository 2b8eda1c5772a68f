// Memory of the emulated devices and pinned memory of the host, with a note for every byte whether it was written.
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <string>
#include <vector>

struct Allocation {
  uint64_t first, size;
  int device;
  std::vector<uint8_t> written;
  bool holds(uint64_t address, uint64_t bytes) const { return address >= first && address + bytes <= first + size; }
};

// What new memory holds: a value that no test would take for a result.
constexpr int POISON = 0xCB;

class Memory {
 public:
  explicit Memory(uint64_t bytes_per_device) : total(bytes_per_device) {}

  const uint64_t total;

  uint64_t free_on(int device) const {
    uint64_t used = 0;
    for (auto &[first, held] : device_memory) used += held.device == device ? held.size : 0;
    return total - used;
  }

  // Return the address of new memory, 0 if there is not enough.
  uint64_t allocate(uint64_t size, int device) {
    if (size > free_on(device)) return 0;
    uint64_t first = poisoned(size);
    device_memory[first] = {first, size, device, std::vector<uint8_t>(size)};
    return first;
  }

  bool release(uint64_t first) {
    if (!device_memory.erase(first)) return false;
    free((void *)first);
    return true;
  }

  void *allocate_pinned(uint64_t size) {
    uint64_t first = poisoned(size);
    pinned_memory[first] = size;
    return (void *)first;
  }

  void release_pinned(void *first) {
    pinned_memory.erase((uint64_t)first);
    free(first);
  }

  bool is_pinned(const void *address) const {
    auto after = pinned_memory.upper_bound((uint64_t)address);
    if (after == pinned_memory.begin()) return false;
    auto &[first, size] = *std::prev(after);
    return (uint64_t)address < first + size;
  }

  // Return the allocation that holds all of some bytes, null if there is none.
  Allocation *find(uint64_t address, uint64_t bytes = 1) {
    auto after = device_memory.upper_bound(address);
    if (after == device_memory.begin()) return nullptr;
    Allocation &held = std::prev(after)->second;
    return held.holds(address, bytes) ? &held : nullptr;
  }

  // The three copies and the filling return what is wrong, an empty text if nothing is.
  std::string copy_to_device(uint64_t to, const void *from, uint64_t bytes) {
    Allocation *target = find(to, bytes);
    if (!target) return "copy to the device out of bounds";
    memcpy((void *)to, from, bytes);
    memset(&target->written[to - target->first], 1, bytes);
    return "";
  }

  std::string copy_to_host(void *to, uint64_t from, uint64_t bytes) {
    Allocation *source = find(from, bytes);
    if (!source) return "copy from the device out of bounds";
    if (memchr(&source->written[from - source->first], 0, bytes)) return "copy to the host of uninitialised device memory";
    memcpy(to, (void *)from, bytes);
    return "";
  }

  std::string copy_on_device(uint64_t to, uint64_t from, uint64_t bytes) {
    Allocation *source = find(from, bytes), *target = find(to, bytes);
    if (!source || !target) return "copy on the device out of bounds";
    memmove((void *)to, (void *)from, bytes);
    memmove(&target->written[to - target->first], &source->written[from - source->first], bytes);
    return "";
  }

  std::string fill(uint64_t to, int value, uint64_t bytes) {
    Allocation *target = find(to, bytes);
    if (!target) return "filling of memory out of bounds";
    memset((void *)to, value, bytes);
    memset(&target->written[to - target->first], 1, bytes);
    return "";
  }

 private:
  std::map<uint64_t, Allocation> device_memory;
  std::map<uint64_t, uint64_t> pinned_memory;

  static uint64_t poisoned(uint64_t size) {
    size = (size + 4095) / 4096 * 4096;
    void *memory = aligned_alloc(4096, size);
    memset(memory, POISON, size);
    return (uint64_t)memory;
  }
};
