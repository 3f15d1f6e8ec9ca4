// Brings a timeline its log from the safekeepers: one connection at a time, another member after a
// loss.
//
// Reads what is committed only. Tells the sender how far it got: what is ingested, and what is in
// an index in the store, after which safekeepers may let the log go.
#pragma once

#include <vector>

#include "consensus/client/connection.h"
#include "runtime/world.h"
#include "storage/timeline.h"

namespace varve::storage {

struct LogSource {
  std::vector<Address> safekeepers;
  consensus::Credentials credentials;
};

class LogReceiver {
 public:
  // Starts at once, in a scope below `parent`. `timeline` must outlive this, and nobody else feeds
  // it.
  LogReceiver(World& world, Timeline& timeline, LogSource source, Scope& parent);
  // Suspends until its fibers have ended. Invariant: called before the timeline is stopped.
  void stop();

 private:
  Status run();
  Status receive_from(const Address& address);
  void tell(const char* event, const Status& status);
  Result<std::unique_ptr<consensus::LogStream>> open_stream(const Address& address);
  Result<std::optional<Bytes>> next_piece(consensus::LogStream& stream);
  Status report(consensus::LogStream& stream);

  World& world_;
  Timeline& timeline_;
  LogSource source_;
  Status told_;  // logged last
  Scope scope_;
};

}  // namespace varve::storage
