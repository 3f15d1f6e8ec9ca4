// Records that nobody can digest, as a proposer without an agent would push them: ingest goes on,
// what they may have changed is an error, everything else is served, and all of it is remembered.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "sim/world.h"
#include "storage/backup/base_backup.h"
#include "storage/tenant.h"
#include "storage/testing/model_cluster.h"
#include "storage/testing/root_timeline.h"

namespace varve::storage {
namespace {

using testing::kTablespace;

const Lsn kStart(uint64_t{16} << 20);
const Lsn kPrevious((uint64_t{16} << 20) - 120);
constexpr uint8_t kSpecial = 0x01;
constexpr wal::RelationId kPoisoned{kTablespace, 5, 16384};
constexpr wal::RelationId kForeign{kTablespace, 5, 16385};
constexpr wal::RelationId kTruncated{kTablespace, 5, 16386};
constexpr wal::RelationId kExtended{kTablespace, 5, 16387};
constexpr wal::RelationId kDropped{kTablespace, 7, 16384};
constexpr wal::RelationId kSound{kTablespace, 5, 16388};

TenantShardId tenant_id() {
  return {*TenantId::parse("00112233445566778899aabbccddeeff"), 0, 1};
}
TimelineId timeline_id() {
  TimelineId id;
  id.bytes[15] = 1;
  return id;
}

class BadLog {
 public:
  BadLog() : writer_(testing::ModelCluster::identity(), kStart, kPrevious) {
    for (const wal::RelationId& r :
         {kPoisoned, kForeign, kTruncated, kExtended, kDropped, kSound}) {
      Writer data;
      put(data, r);
      data.le<int32_t>(0);
      append(wal::Rmgr::kStorage, 0x10 | kSpecial, 0, {}, data);
      image({r, wal::Fork::kMain, 0});
      image({r, wal::Fork::kMain, 1});
    }
    commit(800);
    before = end();
  }

  // --- what nobody can digest

  void unknown_operation_on_a_page() {
    wal::BlockReference block;
    block.block = {kPoisoned, wal::Fork::kMain, 1};
    append(wal::Rmgr::kBtree, 0xF0, 801, {&block, 1}, {});
  }
  void record_of_an_extension() {
    wal::BlockReference block;
    block.block = {kForeign, wal::Fork::kMain, 0};
    append(static_cast<wal::Rmgr>(200), 0x00, 801, {&block, 1}, {});
  }
  void truncation_of_another_kind() {
    Writer data;
    data.le<uint32_t>(1);
    put(data, kTruncated);
    data.le<uint32_t>(0x80);
    append(wal::Rmgr::kStorage, 0x20 | kSpecial, 0, {}, data);
  }
  void extension_beyond_reason() { image({kExtended, wal::Fork::kMain, 1u << 30}); }
  void drop_of_a_database_that_is_cut_off() {
    Writer data;
    data.le<uint32_t>(kDropped.database);
    data.le<int32_t>(1000);
    append(wal::Rmgr::kDatabase, 0x20 | kSpecial, 0, {}, data);
  }
  void commit_that_is_cut_off() {
    Writer data;
    data.le<uint16_t>(1);
    append(wal::Rmgr::kTransaction, 0x00, 802, {}, data);
  }

  // --- and what anybody can

  void image(const wal::BlockId& id) {
    testing::Page page{};
    store_le<uint16_t>(page.data() + 12, 24);
    store_le<uint16_t>(page.data() + 14, 4096);
    store_le<uint16_t>(page.data() + 16, 8192);
    store_le<uint16_t>(page.data() + 18, 0x2004);
    wal::BlockReference block;
    block.block = id;
    wal::BlockImage full;
    full.bytes = page;
    full.apply = true;
    block.image = full;
    append(wal::Rmgr::kXlog, 0xB0, 0, {&block, 1}, {});
  }
  void commit(uint32_t xid) {
    Writer data;
    data.le<int64_t>(1000000 + xid);
    append(wal::Rmgr::kTransaction, 0x00, xid, {}, data);
  }

  Lsn end() const { return writer_.boundary(); }
  std::span<const uint8_t> bytes() const { return bytes_; }
  Lsn before;

 private:
  static void put(Writer& out, const wal::RelationId& relation) {
    out.le<uint32_t>(relation.tablespace);
    out.le<uint32_t>(relation.database);
    out.le<uint32_t>(relation.relation);
  }
  void append(wal::Rmgr rmgr, uint8_t info, uint32_t xid,
              std::span<const wal::BlockReference> blocks, const Writer& data) {
    wal::RecordParts parts;
    parts.xid = xid;
    parts.info = info;
    parts.rmid = static_cast<uint8_t>(rmgr);
    parts.blocks = blocks;
    parts.main_data = data.span();
    std::vector<uint8_t> raw = wal::build_record(*testing::ModelCluster::identity().version, parts);
    writer_.append(raw, bytes_);
  }

  wal::LogWriter writer_;
  std::vector<uint8_t> bytes_;
};

class Quarantine : public ::testing::Test {
 protected:
  // Ingests the log and has `look` judge it, then again in another life, from the store.
  void judge(const std::function<void(Timeline&)>& look) {
    sim::Simulation sim(1);
    bool done = false;
    sim.start(sim.add_node("pageserver", [&](World& world) {
      ObjectStore& objects = sim.object_store(world);
      ASSERT_TRUE(
          testing::make_root(objects, tenant_id(), timeline_id(), Generation(1), kStart, kPrevious)
              .ok());
      for (uint64_t generation = 2; generation <= 3; ++generation) {
        SCOPED_TRACE("generation " + std::to_string(generation));
        Scope scope("life");
        BlockCache cache(1 << 20);
        Tenant tenant({world.disk, objects, world.offload, nullptr}, tenant_id(),
                      Generation(generation), {}, cache, scope);
        ASSERT_TRUE(tenant.attach().ok());
        Timeline& timeline = *tenant.find(timeline_id());
        if (generation == 2) {
          const Status received = timeline.receive(kStart, log_.bytes());
          EXPECT_TRUE(received.ok()) << received.to_string();
        }
        EXPECT_EQ(timeline.last_record(), log_.end());
        look(timeline);
        expect_good(timeline, kSound, 0, log_.end());
        const auto backup = make_base_backup(timeline, log_.end());
        EXPECT_TRUE(backup.ok()) << backup.status().to_string();
        tenant.flush_and_stop();
      }
      done = true;
    }));
    EXPECT_TRUE(sim.run_until([&] { return done; }, Duration::seconds(60)));
  }
  void expect_good(Timeline& timeline, const wal::RelationId& r, uint32_t block, Lsn at) {
    const auto page = timeline.get_page({r, wal::Fork::kMain, block}, at);
    EXPECT_TRUE(page.ok() && !page->beyond_end) << page.status().to_string();
  }
  void expect_lost(Timeline& timeline, const wal::RelationId& r, uint32_t block, Lsn at,
                   Code code = Code::kCorrupt) {
    const auto page = timeline.get_page({r, wal::Fork::kMain, block}, at);
    EXPECT_TRUE(page.is(code)) << page.status().to_string();
  }
  // One note, at the record that ends at `end`, which says `what`.
  void expect_note(Timeline& timeline, Lsn end, const std::string& what) {
    const auto notes = timeline.quarantine();
    ASSERT_TRUE(notes.ok()) << notes.status().to_string();
    ASSERT_EQ(notes->size(), 1u);
    EXPECT_EQ((*notes)[0].lsn, end);
    EXPECT_NE((*notes)[0].text.find(what), std::string::npos) << (*notes)[0].text;
  }

  BadLog log_;
};

TEST_F(Quarantine, APageIsAnErrorUntilItIsWholeAgain) {
  log_.unknown_operation_on_a_page();
  const Lsn bad = log_.end();
  log_.image({kPoisoned, wal::Fork::kMain, 1});
  judge([&](Timeline& timeline) {
    expect_good(timeline, kPoisoned, 1, log_.before);
    expect_lost(timeline, kPoisoned, 1, bad);
    expect_good(timeline, kPoisoned, 0, bad);
    expect_good(timeline, kPoisoned, 1, log_.end());
    expect_note(timeline, bad, "1663/5/16384 main block 1");
  });
}

TEST_F(Quarantine, ARecordOfAnExtensionClosesItsPages) {
  log_.record_of_an_extension();
  const Lsn bad = log_.end();
  log_.commit(810);
  judge([&](Timeline& timeline) {
    expect_lost(timeline, kForeign, 0, log_.end(), Code::kUnsupported);
    expect_good(timeline, kForeign, 1, log_.end());
    expect_note(timeline, bad, "custom");
  });
}

TEST_F(Quarantine, ARelationIsClosedByWhatMayHaveCutIt) {
  log_.truncation_of_another_kind();
  const Lsn bad = log_.end();
  log_.commit(810);
  judge([&](Timeline& timeline) {
    expect_good(timeline, kTruncated, 1, log_.before);
    expect_lost(timeline, kTruncated, 0, log_.end());
    expect_lost(timeline, kTruncated, 1, log_.end());
    expect_note(timeline, bad, "Storage");
  });
}

TEST_F(Quarantine, ARelationIsClosedByAnExtensionBeyondReason) {
  log_.extension_beyond_reason();
  const Lsn bad = log_.end();
  log_.commit(810);
  judge([&](Timeline& timeline) {
    expect_good(timeline, kExtended, 0, log_.before);
    expect_lost(timeline, kExtended, 0, log_.end());
    expect_note(timeline, bad, "1663/5/16387");
  });
}

TEST_F(Quarantine, ADatabaseIsClosedByWhatMayHaveDroppedIt) {
  log_.drop_of_a_database_that_is_cut_off();
  const Lsn bad = log_.end();
  log_.commit(810);
  judge([&](Timeline& timeline) {
    expect_good(timeline, kDropped, 0, log_.before);
    expect_lost(timeline, kDropped, 0, log_.end());
    expect_note(timeline, bad, "Database");
  });
}

// A commit that is lost without a word would take a row back that was acknowledged.
TEST_F(Quarantine, TheStatusOfATransactionIsAnErrorWhenItsCommitCannotBeRead) {
  log_.commit_that_is_cut_off();
  const Lsn bad = log_.end();
  log_.commit(810);
  judge([&](Timeline& timeline) {
    EXPECT_TRUE(timeline.get_slru_page({wal::Slru::kClog, 0}, log_.before).ok());
    EXPECT_TRUE(timeline.get_slru_page({wal::Slru::kClog, 0}, log_.end()).is(Code::kCorrupt));
    expect_note(timeline, bad, "Transaction");
  });
}

}  // namespace
}  // namespace varve::storage
