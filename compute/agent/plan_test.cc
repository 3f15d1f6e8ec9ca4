// Plans byte by byte: what a start writes, from manifests at every alignment.
#include "compute/agent/plan.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "compute/agent/testing/sample_manifest.h"
#include "wal/decoder.h"
#include "wal/extent.h"
#include "wal/writer.h"

namespace varve::compute {
namespace {

using testing::sample_control_file;
using testing::sample_manifest;

constexpr uint32_t kSegment = 1 << 20;
constexpr WallTime kNow{800000000000000};
const Lsn kLsn(5 * kSegment + 3 * kWalPageSize + 1000);

StartPlan must_plan(const Manifest& manifest, const ComputeSettings& settings = {}) {
  auto forged = forge_start(manifest, settings, kNow);
  EXPECT_TRUE(forged.ok()) << forged.status().to_string();
  auto plan = make_plan(manifest, settings, *forged, Incarnation(9), Term(3), kNow);
  EXPECT_TRUE(plan.ok()) << plan.status().to_string();
  return std::move(*plan);
}

std::string content(const PostgresPlan& plan, const std::string& path) {
  for (const PostgresFile& file : plan.files) {
    if (file.path == path) return std::string(file.content.view());
  }
  return "(absent)";
}

std::optional<uint32_t> lazy(const PostgresPlan& plan, const std::string& path) {
  for (uint32_t i = 0; i < plan.lazy_files.size(); ++i) {
    if (plan.lazy_files[i].path == path) return i;
  }
  return std::nullopt;
}

bool has_setting(const PostgresPlan& plan, const std::string& setting) {
  return std::count(plan.settings.begin(), plan.settings.end(), setting) == 1;
}

TEST(Plan, FilesOfASmallCluster) {
  Manifest m = sample_manifest(kLsn, kLsn.page_start() + 24);
  m.origins = {{3, Lsn(0x30)}, {1, Lsn(0x10)}};
  const StartPlan plan = must_plan(m, {{{"port", "5433"}, {"search_path", "a'b\\c"}},
                                       {"local all all trust"},
                                       "work_mem = '9MB'\n"});
  const PostgresPlan& p = plan.postgres;
  EXPECT_EQ(content(p, "PG_VERSION"), "15\n");
  EXPECT_EQ(content(p, "base/5/PG_VERSION"), "15\n");
  EXPECT_EQ(content(p, "global/pg_filenode.map"), std::string(512, 0x5A));
  EXPECT_EQ(content(p, "base/1/pg_filenode.map"), std::string(512, 0x5A));
  EXPECT_EQ(content(p, "postgresql.auto.conf"), "work_mem = '9MB'\n");
  EXPECT_EQ(content(p, "pg_hba.conf"),
            "local replication all reject\nhost replication all all reject\nlocal all all trust\n");
  EXPECT_NE(content(p, "postgresql.conf").find("search_path = 'a''b\\\\c'\n"), std::string::npos);
  EXPECT_NE(content(p, "postgresql.conf").find("max_connections = 100\n"), std::string::npos);
  EXPECT_EQ(content(p, "base/1/1259"), "");
  const std::string origins = content(p, "pg_logical/replorigin_checkpoint");
  ASSERT_EQ(origins.size(), 4u + 2 * 16 + 4);
  const auto* o = reinterpret_cast<const uint8_t*>(origins.data());
  EXPECT_EQ(load_le<uint32_t>(o), 0x1257DADEu);
  EXPECT_EQ(load_le<uint16_t>(o + 4), 1);
  EXPECT_EQ(load_le<uint64_t>(o + 12), 0x10u);
  EXPECT_EQ(load_le<uint32_t>(o + 36), crc32c({o, 36}));

  // Parents stand before their children, and every file has its directory.
  for (size_t i = 0; i < p.directories.size(); ++i) {
    const size_t slash = p.directories[i].rfind('/');
    if (slash == std::string::npos) continue;
    const auto end = p.directories.begin() + static_cast<int64_t>(i);
    EXPECT_NE(std::find(p.directories.begin(), end, p.directories[i].substr(0, slash)), end);
  }
  EXPECT_EQ(p.control_file.path, "global/pg_control");
  EXPECT_EQ(content(p, "global/pg_control"), "(absent)");
}

TEST(Plan, LazyFilesAndWhereTheirPagesComeFrom) {
  const StartPlan plan = must_plan(sample_manifest(kLsn, kLsn.page_start() + 24));
  const PostgresPlan& p = plan.postgres;
  ASSERT_EQ(plan.sources.size(), p.lazy_files.size());
  const auto first = lazy(p, "base/5/16384");
  const auto second = lazy(p, "base/5/16384.1");
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_EQ(p.lazy_files[*first].blocks, 131072u);
  EXPECT_EQ(p.lazy_files[*second].blocks, 3u);
  const wal::RelationId relation{1663, 5, 16384};
  EXPECT_EQ(page_of(plan, *second, 2), PageKey(wal::BlockId{relation, wal::Fork::kMain, 131074}));
  EXPECT_TRUE(lazy(p, "base/5/16384_vm").has_value());
  EXPECT_FALSE(lazy(p, "base/5/16384_fsm").has_value()) << "the map of free space may lie";
  EXPECT_TRUE(lazy(p, "base/5/16390").has_value());
  EXPECT_FALSE(lazy(p, "base/5/16390.1").has_value());
  // Unlogged: as long as the init fork, and its pages.
  const auto unlogged = lazy(p, "base/5/16400");
  ASSERT_TRUE(unlogged.has_value());
  EXPECT_EQ(p.lazy_files[*unlogged].blocks, 1u);
  EXPECT_EQ(page_of(plan, *unlogged, 0),
            PageKey(wal::BlockId{{1663, 5, 16400}, wal::Fork::kInit, 0}));
  EXPECT_TRUE(lazy(p, "base/5/16400_init").has_value());
  EXPECT_EQ(content(p, "base/5/16401"), "");
  EXPECT_EQ(content(p, "base/5/16401_init"), "");
  EXPECT_EQ(page_of(plan, *lazy(p, "pg_xact/0000"), 1),
            PageKey(wal::SlruPage{wal::Slru::kClog, 1}));
  // Read in critical sections: the page of xid 40000 and the next multixact's.
  ASSERT_EQ(plan.wanted_first.size(), 3u);
  EXPECT_EQ(plan.wanted_first[0], std::pair(*lazy(p, "pg_xact/0000"), 1u));
}

TEST(Plan, SettingsOfTheGate) {
  const StartPlan plan = must_plan(sample_manifest(kLsn, kLsn.page_start() + 24));
  for (const char* setting :
       {"fsync=on", "wal_sync_method=fdatasync", "full_page_writes=off", "restart_after_crash=off",
        "wal_level=replica", "archive_mode=off", "wal_recycle=off", "wal_init_zero=off",
        "synchronous_standby_names=", "dynamic_shared_memory_type=mmap", "max_wal_senders=0"}) {
    EXPECT_TRUE(has_setting(plan.postgres, setting)) << setting;
  }
  EXPECT_FALSE(has_setting(plan.postgres, "io_method=worker"));
  EXPECT_TRUE(has_setting(must_plan(sample_manifest(kLsn, kLsn.page_start() + 24, 18)).postgres,
                          "io_method=worker"));
}

Manifest::TwoPhase prepared(uint32_t xid) {
  std::vector<uint8_t> file(64, 7);
  store_le<uint32_t>(file.data() + 60, crc32c(std::span(file).first(60)));
  return {(uint64_t{1} << 32) | xid, Bytes::copy(file)};
}

TEST(Plan, PreparedTransactions) {
  Manifest m = sample_manifest(kLsn, kLsn.page_start() + 24);
  m.two_phase = {prepared(0x2BC), prepared(39999)};
  const StartPlan plan = must_plan(m);
  EXPECT_NE(content(plan.postgres, "pg_twophase/000002BC"), "(absent)");
  EXPECT_TRUE(has_setting(plan.postgres, "max_prepared_transactions=2"));
  EXPECT_EQ(plan.wanted_first.size(), 4u);
  m.slru_segments[0].blocks = 1;  // the page of xid 39999 is gone
  EXPECT_TRUE(forge_start(m, {}, kNow).is(Code::kCorrupt));
  m = sample_manifest(kLsn, kLsn.page_start() + 24);
  m.two_phase = {prepared(800)};
  m.two_phase[0].content = m.two_phase[0].content.slice(0, 60);
  EXPECT_TRUE(forge_start(m, {}, kNow).is(Code::kCorrupt));
}

TEST(Plan, RefusesWithAReason) {
  const Manifest good = sample_manifest(kLsn, kLsn.page_start() + 24);
  const auto refused = [&](Code code, const std::string& part, auto change) {
    Manifest m = good;
    ComputeSettings settings;
    change(m, settings);
    const auto forged = forge_start(m, settings, kNow);
    ASSERT_FALSE(forged.ok()) << part;
    EXPECT_EQ(forged.code(), code) << forged.status().to_string();
    EXPECT_NE(forged.status().to_string().find(part), std::string::npos)
        << forged.status().to_string();
  };
  using S = ComputeSettings;
  refused(Code::kInternal, "beyond the end", [](Manifest& m, S&) { m.ingested = m.lsn + 8; });
  refused(Code::kUnsupported, "tablespace", [](Manifest& m, S&) {
    m.forks.push_back({{99, 5, 1}, wal::Fork::kMain, 1});
  });
  refused(Code::kUnsupported, "tablespace", [](Manifest& m, S&) {
    m.databases.push_back({99, 5});
  });
  refused(Code::kUnsupported, "checksums", [](Manifest& m, S&) {
    m.control_file = Bytes::copy(sample_control_file(15, kSegment, 1));
  });
  refused(Code::kUnsupported, "logical", [](Manifest&, S& s) {
    s.parameters = {{"wal_level", "logical"}};
  });
  refused(Code::kInvalid, "fsync", [](Manifest&, S& s) { s.parameters = {{"fsync", "off"}}; });
  refused(Code::kInvalid, "data_directory", [](Manifest&, S& s) {
    s.parameters = {{"data_directory", "/"}};
  });
  refused(Code::kInvalid, "line break", [](Manifest&, S& s) {
    s.parameters = {{"port", "1\nfsync = off"}};
  });
  refused(Code::kCorrupt, "pg_xact", [](Manifest& m, S&) { m.slru_segments.clear(); });
  refused(Code::kCorrupt, "relation map", [](Manifest& m, S&) { m.relation_maps.pop_back(); });
  refused(Code::kCorrupt, "no database", [](Manifest& m, S&) {
    m.forks.push_back({{1663, 6, 1}, wal::Fork::kMain, 1});
  });
  refused(Code::kCorrupt, "twice", [](Manifest& m, S&) { m.forks.push_back(m.forks[1]); });
  refused(Code::kCorrupt, "no record can end",
          [](Manifest& m, S&) { m.lsn = m.ingested = m.lsn.page_start() + 8; });
  refused(Code::kCorrupt, "would begin", [](Manifest& m, S&) { m.previous = m.lsn; });
  refused(Code::kUnsupported, "not known", [](Manifest& m, S&) { m.major = 9; });
}

// A counter on the edge of a status page names a page that does not exist yet.
TEST(Plan, CountersOnPageEdges) {
  Manifest m = sample_manifest(kLsn, kLsn.page_start() + 24);
  wal::Checkpoint counters = m.state.checkpoint(*wal::version_of_major(15), m.lsn, 0);
  counters.next_xid = 2 * wal::kClogXidsPerPage;
  m.state = wal::CheckpointState(counters, m.state.parameters());
  const StartPlan plan = must_plan(m);
  EXPECT_EQ(plan.wanted_first.size(), 2u);
}

// Puts the sparse files of a plan together: the log from the first segment's start on.
std::map<uint64_t, std::vector<uint8_t>> segments_of(const PostgresPlan& plan) {
  std::map<uint64_t, std::vector<uint8_t>> segments;
  for (const PostgresSparseFile& file : plan.sparse_files) {
    const auto name = wal::parse_segment_file_name(file.path.substr(7), plan.wal_segment_size);
    EXPECT_TRUE(name.has_value()) << file.path;
    EXPECT_EQ(file.size, plan.wal_segment_size);
    std::vector<uint8_t>& bytes = segments[name->number];
    bytes.assign(file.size, 0);
    uint64_t end = 0;
    for (const PostgresSparseFile::Piece& piece : file.pieces) {
      EXPECT_GE(piece.offset, end);
      end = piece.offset + piece.content.size();
      EXPECT_LE(end, file.size);
      std::copy(piece.content.data(), piece.content.data() + piece.content.size(),
                bytes.begin() + static_cast<int64_t>(piece.offset));
    }
  }
  return segments;
}

// At every alignment: a reader of the forged segments that starts at the page of L finds exactly
// the record that goes to the quorum, and pg_control names it.
RC_GTEST_PROP(Plan, TheForgedLogReadsBack, (uint64_t seed)) {
  RandomStream random(seed, "plan");
  uint64_t value = 7ull * kSegment + random.below(3) * kWalPageSize;
  if (random.chance(400000)) value = 8ull * kSegment - kWalPageSize;
  value += random.chance(500000) ? kWalPageSize - 8 * random.below(20) : random.below(kWalPageSize);
  const Lsn lsn = wal::normalise(Lsn(value), kSegment);
  Manifest m = sample_manifest(lsn, Lsn(lsn.value - 64));
  const bool true_prefix = random.chance(500000) && lsn.page_offset() != 0;
  if (true_prefix) {
    std::vector<uint8_t> prefix(lsn.page_offset(), 0xAB);
    const uint32_t header = wal::page_header_size(lsn, kSegment);
    RC_PRE(prefix.size() >= header);
    const wal::LogIdentity identity{wal::version_of_major(15), testing::kSystemId, kSegment, 1};
    wal::write_page_header(identity, lsn.page_start(), wal::kPageFirstIsContinuation,
                           static_cast<uint32_t>(prefix.size() - header), prefix);
    m.page_prefix = Bytes::copy(prefix);
  }
  auto forged = forge_start(m, {}, kNow);
  RC_ASSERT(forged.ok());
  const wal::ForgedCheckpoint& f = forged->checkpoint;
  RC_ASSERT(f.boundary == lsn);
  RC_ASSERT(f.start == wal::to_start_form(lsn, kSegment));
  RC_ASSERT(f.end == wal::record_extent(f.start, 114, false, kSegment).end);
  RC_ASSERT(f.bytes.size() == f.end - lsn);
  auto plan = make_plan(m, {}, *forged, Incarnation(9), Term(3), kNow);
  RC_ASSERT(plan.ok());

  auto segments = segments_of(plan->postgres);
  RC_ASSERT(segments.contains(lsn.segment(kSegment)));
  RC_ASSERT(segments.size() == f.end.segment(kSegment) - lsn.segment(kSegment) +
                                   (f.end.segment_offset(kSegment) == 0 ? 0 : 1));
  std::vector<uint8_t> log;  // from the page of L on
  const Lsn page = lsn.page_start();
  for (Lsn at = page; at < f.end; at = at + kWalPageSize) {
    const auto from =
        segments[at.segment(kSegment)].begin() + static_cast<int64_t>(at.segment_offset(kSegment));
    log.insert(log.end(), from, from + kWalPageSize);
  }
  RC_ASSERT(std::equal(f.bytes.begin(), f.bytes.end(), log.begin() + (lsn - page)));
  if (true_prefix)
    RC_ASSERT(std::equal(log.begin(), log.begin() + (lsn - page), m.page_prefix.data()));
  // Every segment begins with a long header, else Postgres does not open it.
  for (const auto& [number, bytes] : segments) RC_ASSERT(wal::identity_of_segment(bytes).ok());

  wal::Decoder decoder({.identity = forged->identity});
  decoder.reset_to_page(page);
  decoder.feed(page, log);
  wal::Record record;
  RC_ASSERT(decoder.next(record) == wal::Step::kRecord);
  RC_ASSERT(record.start == f.start);
  RC_ASSERT(record.end == f.end);
  RC_ASSERT(record.previous == m.previous);
  RC_ASSERT(record.operation() == 0);
  auto checkpoint = wal::Checkpoint::parse(*forged->identity.version, record.main_data);
  RC_ASSERT(checkpoint->redo == f.start);
  RC_ASSERT(checkpoint->next_xid == ((uint64_t{1} << 32) | 40000));
  RC_ASSERT(!checkpoint->full_page_writes);

  const auto control = wal::parse_control_file(*forged->identity.version,
                                               plan->postgres.control_file.content.span());
  RC_ASSERT(control.ok());
  RC_ASSERT(control->state == wal::ClusterState::kShutDown);
  RC_ASSERT(control->checkpoint_record == f.start);
  RC_ASSERT(control->checkpoint == *checkpoint);
  RC_ASSERT(control->system_id == testing::kSystemId);
}

}  // namespace
}  // namespace varve::compute
