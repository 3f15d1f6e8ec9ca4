// The arena of one life: its memory file, its mapping, and what the agent's side does in it.
//
// Layout and transitions are compute/arena's; this only gives them memory and the agent's calls.
// Everything but fill() is a handful of atomics and never blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "compute/arena/operations.h"
#include "real_io/postgres/place.h"
#include "real_io/unique_fd.h"
#include "runtime/postgres_host.h"

namespace varve::real_io {

class ArenaMemory {
 public:
  // Lays out and opens an arena for the plan's lazy files; resident pages are marked present, the
  // files must hold them before Postgres starts. Invalid for a path or size that no arena takes.
  static Result<std::shared_ptr<ArenaMemory>> create(Syscalls& syscalls, const PostgresPlan& plan);
  ~ArenaMemory();
  ArenaMemory(const ArenaMemory&) = delete;
  ArenaMemory& operator=(const ArenaMemory&) = delete;

  int fd() const { return fd_.get(); }
  varve_arena* get() const { return arena_; }
  uint32_t blocks_of(uint32_t file) const { return blocks_[file]; }

  PostgresWalTail tail() const;
  // Stores the word so that a waiter never sees it half, and wakes all. Ignored once closed.
  void set_gate(const PostgresGateWord& word);
  void close_gate();

  // Claims the leading missing blocks of a range for a prefetch; none: the first is not missing.
  uint32_t claim(uint32_t file, uint32_t first, uint32_t blocks, varve_claim* claim);
  void release(uint32_t file, const varve_claim& claim);
  // Puts fetched pages into the file below `data`. Blocks on the disk, never on the file's lock:
  // its holder may be stopped, and then the claim is given up. On a thread, as `user`.
  void fill(const std::string& data, const PostgresUser& user, uint32_t file,
            const varve_claim& claim, const std::vector<uint8_t>& pages);

 private:
  ArenaMemory() = default;
  varve_env environment(void* context) const;

  UniqueFd fd_;
  varve_arena* arena_ = nullptr;
  uint64_t bytes_ = 0;
  std::vector<uint32_t> blocks_;
};

}  // namespace varve::real_io
