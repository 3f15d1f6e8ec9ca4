// What an agent lets into the log, and what it does not.
#include "compute/agent/digest.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "base/codec.h"
#include "wal/decode_record.h"
#include "wal/writer.h"

namespace varve::compute {
namespace {

constexpr wal::RelationId kRelation{1663, 5, 16384};
constexpr uint8_t kSpecial = 0x01;

const wal::Version& version() {
  return *wal::version_of_major(15);
}

struct Block {
  bool image = false;
};

// digestible() of a record made of these parts, as a scanner would hand it over.
Status digest(uint8_t rmid, uint8_t info, const Writer& main_data, std::optional<Block> with = {}) {
  const std::array<uint8_t, kBlockSize> page{};
  wal::BlockReference block;
  block.block = {kRelation, wal::Fork::kMain, 3};
  if (with && with->image) {
    wal::BlockImage full;
    full.bytes = page;
    full.apply = true;
    block.image = full;
  }
  wal::RecordParts parts;
  parts.rmid = rmid;
  parts.info = info;
  parts.xid = 800;
  if (with) parts.blocks = {&block, 1};
  parts.main_data = main_data.span();
  std::vector<uint8_t> raw = wal::build_record(version(), parts);
  const Lsn start(0x1000028);
  wal::seal_record(raw, Lsn(0x1000000));
  wal::Record record;
  const Status decoded =
      wal::decode_record(version(), start, start + (raw.size() + 7) / 8 * 8, raw, record);
  EXPECT_TRUE(decoded.ok()) << decoded.to_string();
  return digestible(version(), record);
}

uint8_t id_of(wal::Rmgr rmgr) {
  return static_cast<uint8_t>(rmgr);
}
Writer commit() {
  Writer data;
  data.le<int64_t>(1000000);
  return data;
}
Writer truncation(uint32_t flags) {
  Writer data;
  data.le<uint32_t>(1);
  for (const uint32_t part : {kRelation.tablespace, kRelation.database, kRelation.relation})
    data.le<uint32_t>(part);
  data.le<uint32_t>(flags);
  return data;
}

TEST(Digest, WhatPostgresWritesPasses) {
  EXPECT_TRUE(digest(id_of(wal::Rmgr::kXlog), 0xB0, {}, Block{.image = true}).ok());
  EXPECT_TRUE(digest(id_of(wal::Rmgr::kTransaction), 0x00, commit()).ok());
  EXPECT_TRUE(digest(id_of(wal::Rmgr::kStorage), 0x20 | kSpecial, truncation(7)).ok());
  // No redo in this build, but it can be kept whole.
  EXPECT_TRUE(digest(id_of(wal::Rmgr::kGin), 0x10, {}, Block{}).ok());
}

TEST(Digest, PoisonDoesNot) {
  const auto refused = [](const Status& status, const std::string& what) {
    EXPECT_FALSE(status.ok()) << what;
    EXPECT_NE(status.to_string().find(what), std::string::npos) << status.to_string();
  };
  refused(digest(200, 0x00, {}, Block{}), "custom");
  refused(digest(id_of(wal::Rmgr::kBtree), 0xF0, {}, Block{}), "no such operation");
  refused(digest(id_of(wal::Rmgr::kStorage), 0xA0, {}), "Storage");
  // Relation files are changed by who says so and by nobody else.
  refused(digest(id_of(wal::Rmgr::kTransaction), 0x00 | kSpecial, commit()), "relation files");
  Writer cut;
  cut.le<uint16_t>(1);
  refused(digest(id_of(wal::Rmgr::kTransaction), 0x00, cut), "not its form");
  refused(digest(id_of(wal::Rmgr::kStorage), 0x20 | kSpecial, truncation(0x80)), "not its form");
}

}  // namespace
}  // namespace varve::compute
