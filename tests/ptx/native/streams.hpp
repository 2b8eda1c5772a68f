// Streams, whose work waits as long as it may: until somebody waits for it. What a program wrongly takes for done is not.
#pragma once

#include <stdint.h>

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

class Streams {
 public:
  using Work = std::function<std::string()>;  // returns the fault that it met, or an empty text

  explicit Streams(std::function<void(const std::string &)> on_fault) : on_fault(on_fault) { queues[DEFAULT]; }

  uint64_t create() {
    queues[++newest];
    return newest;
  }

  void destroy(uint64_t stream) {
    finish(stream);
    queues.erase(stream);
  }

  // Append work to a stream. The default stream comes after all work on other streams that was submitted before it, and
  // before all that is submitted later.
  void submit(uint64_t stream, Work work) {
    stream = named(stream);
    if (stream == DEFAULT) finish_others();
    else run(DEFAULT);
    queues[stream].push_back(std::move(work));
  }

  void finish(uint64_t stream) {
    run(DEFAULT);
    if (named(stream) == DEFAULT) finish_others();
    else run(stream);
  }

  void finish_all() { finish(DEFAULT); }

 private:
  static constexpr uint64_t DEFAULT = 0, LARGEST_NAME_OF_DEFAULT = 2;
  std::map<uint64_t, std::deque<Work>> queues;
  std::function<void(const std::string &)> on_fault;
  uint64_t newest = 4096;

  static uint64_t named(uint64_t stream) { return stream <= LARGEST_NAME_OF_DEFAULT ? DEFAULT : stream; }

  void run(uint64_t stream) {
    auto &queue = queues[stream];
    while (!queue.empty()) {
      Work work = std::move(queue.front());
      queue.pop_front();
      std::string fault = work();
      if (!fault.empty()) on_fault(fault);
    }
  }

  void finish_others() {
    std::vector<uint64_t> streams;
    for (auto &[stream, queue] : queues)
      if (stream != DEFAULT) streams.push_back(stream);
    for (uint64_t stream : streams) run(stream);
  }
};
