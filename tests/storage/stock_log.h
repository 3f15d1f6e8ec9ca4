// A stock server's cluster and log, as what an import and a proposer take.
#pragma once

#include <string>
#include <vector>

#include "storage/backup/import.h"
#include "storage/client/import_client.h"
#include "wal/decoder.h"

namespace varve::test {

// Files of a cluster in memory, in pieces. `files` must outlive it.
class ClusterSource : public storage::FileSource {
 public:
  explicit ClusterSource(const storage::ClusterFiles& files) : files_(files) {}
  Result<std::optional<storage::FilePiece>> next() override;

 private:
  const storage::ClusterFiles& files_;
  size_t at_ = 0;
  size_t offset_ = 0;
  Bytes content_;
};

// The log of a stopped server, cut at record ends.
class StockLog {
 public:
  StockLog(std::string wal, uint64_t system_id, Lsn from, Lsn previous, Lsn end);
  // About `size` bytes from where the last piece ended up to a record's end; empty at the end.
  Bytes next(uint64_t size);

 private:
  void load(Lsn at);

  std::string wal_;
  Lsn end_;
  wal::Decoder decoder_;
  Lsn taken_;  // in boundaries' form
  std::vector<uint8_t> rest_;
  std::vector<uint8_t> segment_;
  uint64_t loaded_ = UINT64_MAX;
};

}  // namespace varve::test
