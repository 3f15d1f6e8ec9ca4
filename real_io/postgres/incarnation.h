// The directory of one life, and what is left of earlier ones.
//
// PLACE/<nonce>/ holds data/ (the Postgres user's alone), run/ (Postgres' own sockets), the shim
// (a copy, since the built one may lie where that user can't look), agent.sock and, while Postgres
// may run, control.
// PLACE/<nonce>.lock is locked by the process that runs the life: the kernel lets go of it however
// that process ends, so a lock that can be taken names a leftover, whose processes are killed and
// whose directory is removed, never used. Nonces don't come back. All block.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "real_io/postgres/place.h"
#include "real_io/unique_fd.h"

namespace varve::real_io {

class IncarnationDirectory {
 public:
  // Makes it, without content. Exists for a nonce that was used.
  static Result<std::unique_ptr<IncarnationDirectory>> create(const std::string& place,
                                                              Incarnation nonce,
                                                              const PostgresUser& user);
  // Gives the lock back; call remove() first, or the next start will find a leftover.
  ~IncarnationDirectory() = default;

  const std::string& path() const { return path_; }
  std::string data() const { return path_ + "/data"; }
  // What Postgres gets for its global/pg_control, through the shim.
  std::string control() const { return path_ + "/control"; }
  std::string run() const { return path_ + "/run"; }
  std::string socket() const { return path_ + "/agent.sock"; }
  std::string shim() const { return path_ + "/varve_shim.so"; }
  std::string lock() const { return path_ + ".lock"; }

  // Copies the shim to where the Postgres user can read it. The first thing that fails, by name.
  Status copy_shim(const std::string& from) const;
  Status remove();

 private:
  IncarnationDirectory() = default;
  std::string path_;
  UniqueFd lock_;
};

// Ends what earlier lives in `place` left running and removes their directories. Their names.
Result<std::vector<std::string>> remove_leftovers(const std::string& place);

}  // namespace varve::real_io
