// TCP, non-blocking, on the reactor.
//
// A stream sends at the end of the turn what the turn's fibers wrote, so that several small frames
// are one system call and one packet; from `send_at_once` unsent bytes on it sends without waiting
// for that. Nagle's algorithm is off. Names are looked up on a file thread; literals and
// "localhost" need none.
#pragma once

#include <memory>

#include "real_io/thread_pool.h"
#include "runtime/network.h"

namespace varve::real_io {

struct NetworkOptions {
  uint64_t high_water_mark = 256 << 10;
  uint64_t send_at_once = 64 << 10;
  uint64_t read_per_turn = 1 << 20;
  uint64_t backlog = 1024;
  template <class V>
  static void describe(V&& v) {
    v(&NetworkOptions::high_water_mark, {"high_water_mark", "bytes", 1, 64 << 20,
                                         "unsent bytes above which a writer waits for its peer"});
    v(&NetworkOptions::send_at_once,
      {"send_at_once", "bytes", 1, 64 << 20,
       "unsent bytes that are not held back to the end of the turn"});
    v(&NetworkOptions::read_per_turn, {"read_per_turn", "bytes", 1, 1 << 30,
                                       "bytes of one stream after which other streams get a turn"});
    v(&NetworkOptions::backlog,
      {"backlog", "count", 1, 65535, "connections that the kernel holds until they are accepted"});
  }
};

// `threads` must outlive the network; streams and listeners must not outlive their reactor.
std::unique_ptr<Network> make_network(ThreadPool& threads, const NetworkOptions& options);

}  // namespace varve::real_io
