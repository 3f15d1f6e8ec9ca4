// What ALTER SYSTEM has set at an endpoint, kept from life to life and from process to process.
//
// Postgres writes it to a file that no log describes (postgresql.auto.conf), in a directory that is
// thrown away. It belongs to the endpoint, not to the timeline: a branch begins without it, and a
// look at the past does not bring an old one back.
//
// Settings that Postgres does not start with would keep an endpoint down for ever, since nobody can
// edit the file while it is down. So after a life that began with them and never took connections
// the next one begins without them, says so in the log, and the user sets them right.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/status.h"
#include "runtime/disk.h"
#include "runtime/telemetry.h"

namespace varve::compute {

class KeptSettings {
 public:
  // Both must outlive it.
  KeptSettings(Disk& disk, Log& log) : disk_(disk), log_(log) {}

  // The content of postgresql.auto.conf for the next life. Suspends.
  Result<std::string> for_next_life();
  // What the file holds now, as often as one likes; durable when it returns. Suspends.
  Status keep(const Bytes& content);
  // A life has ended in which Postgres was started, and took connections or did not. Never
  // suspends.
  void life_ended(bool took_connections);

 private:
  Status load();

  Disk& disk_;
  Log& log_;
  bool loaded_ = false;
  bool left_out_ = false;  // in the life that runs, or the next
  std::string content_;    // as on the disk
};

}  // namespace varve::compute
