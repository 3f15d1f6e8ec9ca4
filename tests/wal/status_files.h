// Everything that a log changes beside pages of relations, rebuilt from the log alone and compared
// with a server's files: pg_xact, pg_commit_ts, pg_multixact, pg_twophase.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "wal/effects.h"
#include "wal/slru.h"
#include "wal/version.h"

namespace varve::test {

class StatusFiles {
 public:
  // `track`: whether the server keeps commit timestamps at the beginning.
  StatusFiles(const wal::Version& version, bool track) : version_(version), track_(track) {}

  // Begins with what a data directory holds instead of with nothing.
  void load(const std::string& directory);
  void apply(const wal::Effect& effect);

  // Fails the running test for each page or file that differs; a page that does not exist is zeros.
  // Returns how many of our pages were compared.
  size_t compare(const std::string& directory) const;

  size_t prepared() const { return prepared_.size(); }
  size_t removed() const { return removed_; }  // pages that truncations took away

 private:
  const wal::Version& version_;
  bool track_;
  size_t removed_ = 0;
  std::map<wal::SlruPage, std::vector<uint8_t>> pages_;
  std::map<std::string, std::vector<uint8_t>> prepared_;
};

}  // namespace varve::test
