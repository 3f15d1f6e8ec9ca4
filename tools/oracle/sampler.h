// Picks a few blocks of every kind out of a log and writes them down, each with its page before, so
// that tests can replay real records without a Postgres.
//
// File: for each case start u64, end u64, block id u8, length of the record u32, the record, then
// the 8,192 bytes of the page before. Little-endian. The page after is the image inside of the
// record. tests/data/redo holds one such file for each major version, compressed with zstd.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>

#include "base/codec.h"
#include "base/lsn.h"
#include "base/status.h"
#include "wal/record.h"

namespace varve::oracle {

class Sampler {
 public:
  // Offers a block that is about to be replayed on `before`. Takes the first and the 21st of each
  // kind: a kind is a type, a block id and what its main data says about the way it goes.
  void offer(const wal::Record& record, const wal::BlockReference& block,
             std::span<const uint8_t, kBlockSize> before);

  Status write(const std::string& path) const;

 private:
  using Kind = std::tuple<uint8_t, uint8_t, uint8_t, uint64_t>;

  std::map<Kind, uint64_t> seen_;
  Writer out_;
};

}  // namespace varve::oracle
