// A stock server's cluster is imported, its log is ingested, and every page of its data directory
// must come out equal after masking what is not logged. And: the last of many tables must cost what
// the first did.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>

#include "real_io/real_world.h"
#include "storage/backup/base_backup.h"
#include "storage/tenant.h"
#include "tests/storage/memory_objects.h"
#include "tests/wal/stock_server.h"
#include "wal/control_file.h"
#include "wal/extent.h"
#include "wal/redo/mask.h"

namespace varve::storage {
namespace {

using wal::redo::MaskKind;

constexpr char kSettings[] =
    "full_page_writes=off\nwal_level=replica\nmax_wal_size=16GB\nwal_keep_size=16GB\n"
    "checkpoint_timeout=1h\nfsync=off\nmax_prepared_transactions=10\n";
constexpr uint32_t kSegmentSize = 16 << 20;
constexpr uint32_t kCheckpointRecordBytes = 114;

TenantShardId tenant_id() {
  return {*TenantId::parse("00112233445566778899aabbccddeeff"), 0, 1};
}
TimelineId timeline_id() {
  return *TimelineId::parse("0f0e0d0c0b0a09080706050403020100");
}

ClusterFiles read_cluster(const std::string& data) {
  auto contents = std::make_shared<std::map<std::string, std::vector<uint8_t>>>();
  ClusterFiles files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(data)) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path().lexically_relative(data).string();
    (*contents)[path] = test::read_file(entry.path().string());
    files.files.push_back({path, (*contents)[path].size()});
  }
  files.read = [contents](const std::string& path) -> Result<Bytes> {
    const auto found = contents->find(path);
    if (found == contents->end()) return Status(Code::kNotFound, "no file").with_object(path);
    return Bytes::copy(found->second);
  };
  return files;
}

wal::ControlFile read_control(const std::string& data) {
  return *wal::parse_control_file(*wal::version_of_major(15),
                                  test::read_file(data + "/global/pg_control"));
}

Lsn end_of(const wal::ControlFile& control) {
  return wal::record_extent(control.checkpoint_record, kCheckpointRecordBytes, false, kSegmentSize)
      .end;
}

Status feed(Timeline& timeline, const std::string& wal, Lsn end) {
  while (timeline.wanted() < end) {
    const Lsn at = timeline.wanted();
    const std::string name = wal::segment_file_name({1, at.segment(kSegmentSize)}, kSegmentSize);
    const std::vector<uint8_t> segment = test::read_file(wal + "/" + name);
    const Lsn segment_start(at.segment(kSegmentSize) * kSegmentSize);
    const uint64_t upto = std::min<uint64_t>(kSegmentSize, end.value - segment_start.value);
    const uint64_t from = at - segment_start;
    VARVE_TRY(timeline.receive(at, std::span(segment).subspan(from, upto - from)));
  }
  return Status();
}

// What a page may differ in, told by its special space.
MaskKind mask_for(std::span<const uint8_t> page, wal::Fork fork) {
  if (fork == wal::Fork::kVisibility) return MaskKind::kVisibilityMap;
  const auto special = load_le<uint16_t>(page.data() + 16);
  if (special == 0) return MaskKind::kNothing;
  if (special == kBlockSize) return MaskKind::kHeap;
  return kBlockSize - special == 16 ? MaskKind::kBtree : MaskKind::kUnusedSpace;
}

struct Tally {
  uint64_t pages = 0;
  uint64_t beyond = 0;
  uint64_t unequal = 0;
  uint64_t lost_maps = 0;
  uint64_t forks = 0;
};

// CREATE DATABASE by log writes images of map pages as if they were standard pages, so that all of
// the map falls into the image's hole: a stock standby has lost these bits too, and vacuum sets
// them again. Bits may be missing there, never be set where the server has none.
bool is_lost_map(const wal::BlockId& id, std::span<const uint8_t> ours,
                 std::span<const uint8_t> theirs) {
  constexpr uint32_t kFirstUserOid = 16384;
  if (id.fork != wal::Fork::kVisibility || id.relation.database < kFirstUserOid) return false;
  for (size_t i = 24; i < kBlockSize; ++i) {
    if ((ours[i] & ~theirs[i]) != 0) return false;
  }
  return std::ranges::equal(ours.first(8), theirs.first(8));
}

void compare_page(Timeline& timeline, const wal::BlockId& id, std::span<const uint8_t> file,
                  Lsn end, Tally& tally) {
  const Result<PageAnswer> answer = timeline.get_page(id, end);
  ++tally.pages;
  if (answer.ok()) {
    // A page that was only extended, never logged: it holds nothing.
    const bool empty =
        load_le<uint16_t>(file.data() + 14) == 0 || load_le<uint16_t>(file.data() + 12) == 24;
    if (answer->beyond_end && empty) {
      ++tally.beyond;
      return;
    }
    const std::span<const uint8_t, kBlockSize> ours(answer->page.data(), kBlockSize);
    const std::span<const uint8_t, kBlockSize> theirs(file.data(), kBlockSize);
    const bool only_extended = empty && std::ranges::all_of(ours, [](uint8_t b) { return b == 0; });
    const auto at = wal::redo::first_difference(ours, theirs, mask_for(file, id.fork), id.block);
    if (!at || only_extended) return;
    if (is_lost_map(id, ours, theirs)) {
      ++tally.lost_maps;
      return;
    }
    if (++tally.unequal <= 5) {
      ADD_FAILURE() << Key::block(id).to_string() << " differs at byte " << *at << " ours "
                    << Lsn(uint64_t{load_le<uint32_t>(ours.data())} << 32 |
                           load_le<uint32_t>(ours.data() + 4))
                           .to_string()
                    << " bytes " << int(ours[*at]) << " " << int(theirs[*at]) << " theirs "
                    << Lsn(uint64_t{load_le<uint32_t>(file.data())} << 32 |
                           load_le<uint32_t>(file.data() + 4))
                           .to_string();
    }
    return;
  }
  if (++tally.unequal <= 5) ADD_FAILURE() << answer.status().to_string();
}

// "base/5/16384_vm.1" to its fork and first block.
std::optional<wal::BlockId> parse_path(const std::string& path) {
  wal::BlockId id;
  int used = 0;
  if (std::sscanf(path.c_str(), "base/%u/%u%n", &id.relation.database, &id.relation.relation,
                  &used) == 2) {
    id.relation.tablespace = 1663;
  } else if (std::sscanf(path.c_str(), "global/%u%n", &id.relation.relation, &used) == 1) {
    id.relation.tablespace = 1664;
  } else {
    return std::nullopt;
  }
  std::string rest = path.substr(static_cast<size_t>(used));
  if (rest.starts_with("_fsm")) return std::nullopt;
  if (rest.starts_with("_vm")) {
    id.fork = wal::Fork::kVisibility;
    rest = rest.substr(3);
  } else if (rest.starts_with("_init")) {
    id.fork = wal::Fork::kInit;
    rest = rest.substr(5);
  }
  if (rest.starts_with(".")) id.block = 131072 * static_cast<uint32_t>(std::stoul(rest.substr(1)));
  return id;
}

Tally compare_directory(Timeline& timeline, const ClusterFiles& files, Lsn end) {
  Tally tally;
  for (const ClusterFiles::File& file : files.files) {
    const std::optional<wal::BlockId> first = parse_path(file.path);
    if (first) {
      ++tally.forks;
      const Bytes content = *files.read(file.path);
      for (size_t at = 0; at + kBlockSize <= content.size(); at += kBlockSize) {
        wal::BlockId id = *first;
        id.block += static_cast<uint32_t>(at / kBlockSize);
        compare_page(timeline, id, content.span().subspan(at, kBlockSize), end, tally);
      }
    }
    if (file.path.starts_with("pg_xact/") || file.path.starts_with("pg_multixact/")) {
      wal::SlruPage page{wal::Slru::kClog, 0};
      if (file.path.starts_with("pg_multixact/offsets/")) page.slru = wal::Slru::kMultiXactOffset;
      if (file.path.starts_with("pg_multixact/members/")) page.slru = wal::Slru::kMultiXactMember;
      const std::string name = file.path.substr(file.path.rfind('/') + 1);
      page.page = 32 * static_cast<uint32_t>(std::stoul(name, nullptr, 16));
      const Bytes content = *files.read(file.path);
      for (size_t at = 0; at + kBlockSize <= content.size(); at += kBlockSize, ++page.page) {
        const Result<Bytes> ours = timeline.get_slru_page(page, end);
        ++tally.pages;
        if (!ours.ok() ||
            !std::ranges::equal(ours->span(), content.span().subspan(at, kBlockSize))) {
          ++tally.unequal;
          ADD_FAILURE() << file.path << " page " << page.page << " " << ours.status().to_string();
        }
      }
    }
  }
  return tally;
}

// Runs `body` as a fiber of a real world whose directory goes afterwards.
void run_real(const std::function<Status(World&)>& body) {
  char root[] = "/var/tmp/varve-storage-XXXXXX";
  ASSERT_NE(mkdtemp(root), nullptr);
  real_io::RealOptions options;
  options.root = root;
  auto world = real_io::RealWorld::create(options);
  ASSERT_TRUE(world.ok()) << world.status().to_string();
  const Status status = (*world)->run([&](real_io::RealWorld& real) { return body(real.world()); });
  EXPECT_TRUE(status.ok()) << status.to_string();
  std::filesystem::remove_all(root);
}

void check_backup(Timeline& timeline, const wal::ControlFile& control, uint64_t forks) {
  const Result<BaseBackup> backup = make_base_backup(timeline, end_of(control));
  ASSERT_TRUE(backup.ok()) << backup.status().to_string();
  EXPECT_EQ(backup->position.previous, control.checkpoint_record);
  EXPECT_GE(backup->forks.size(), forks);
  const wal::Checkpoint ours =
      backup->counters.checkpoint(timeline.version(), control.checkpoint.redo, 0);
  EXPECT_EQ(ours.next_xid, control.checkpoint.next_xid);
  EXPECT_EQ(ours.next_oid, control.checkpoint.next_oid);
  EXPECT_EQ(ours.next_multi, control.checkpoint.next_multi);
  EXPECT_EQ(ours.oldest_xid, control.checkpoint.oldest_xid);
}

TEST(StorageStock, ServesTheDataDirectoryOfPgbench) {
  test::StockServer server(kSettings);
  const ClusterFiles initial = read_cluster(server.data());
  server.start();
  ASSERT_EQ(server.tool("createdb bench").exit_code, 0);
  ASSERT_EQ(server.tool("pgbench -i -q -s 5 bench").exit_code, 0);
  ASSERT_EQ(server.tool("pgbench -c 4 -T 6 bench").exit_code, 0);
  server.sql("bench",
             "create table t(a int primary key, b text); insert into t select i, 'x' from "
             "generate_series(1, 20000) i; delete from t where a % 3 = 0; vacuum t; update "
             "t set b = 'y' where a % 7 = 0; truncate pgbench_history; create table gone(a "
             "int); drop table gone; create sequence s; select setval('s', 100)");
  server.sql("postgres", "create database copied template bench strategy file_copy");
  server.sql("copied", "update t set b = 'copied' where a < 500; delete from t where a > 19000");
  server.sql("bench",
             "update t set b = 'after the copy'; begin; insert into t values (-1, 'p'); "
             "prepare transaction 'p1'");
  ASSERT_EQ(server.tool("pgbench -N -c 4 -T 3 copied").exit_code, 0);
  server.stop("fast");
  const wal::ControlFile control = read_control(server.data());
  const ClusterFiles final = read_cluster(server.data());
  const Lsn end = end_of(control);

  run_real([&](World& world) -> Status {
    test::MemoryObjects objects;
    Scope scope("test");
    StorageOptions options;
    options.timeline.open_layer_bytes = 8 << 20;
    options.compaction.target_layer_bytes = 8 << 20;
    const StorageWorld storage{world.disk, objects, world.offload};
    Tally tally;
    {
      Tenant tenant(storage, tenant_id(), Generation(1), options, 64 << 20, scope);
      VARVE_TRY_ASSIGN(const Tenant::Created created, tenant.import(timeline_id(), initial));
      Timeline& timeline = *created.timeline;
      const auto before = std::chrono::steady_clock::now();
      VARVE_TRY(feed(timeline, server.wal(), end));
      VARVE_TRY(timeline.flush());
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
      const double bytes = static_cast<double>(end - timeline.first().boundary);
      EXPECT_EQ(timeline.last_record(), end);
      EXPECT_EQ(timeline.quarantined(), 0u);
      tally = compare_directory(timeline, final, end);
      std::printf(
          "ingested %.1f MB at %.1f MB/s; %llu pages of %llu files equal, %llu only extended; "
          "%llu maps lost by images; %.2f layers a chain\n",
          bytes / 1e6, bytes / 1e6 / took.count(),
          static_cast<unsigned long long>(tally.pages - tally.unequal),
          static_cast<unsigned long long>(tally.forks),
          static_cast<unsigned long long>(tally.beyond),
          static_cast<unsigned long long>(tally.lost_maps),
          static_cast<double>(timeline.layers_visited()) /
              static_cast<double>(timeline.chains_read()));
      check_backup(timeline, control, tally.forks);
      tenant.stop();
    }
    EXPECT_EQ(tally.unequal, 0u);
    EXPECT_GT(tally.pages, 20000u);
    // The local disk is lost; what is in the store serves the same.
    VARVE_TRY(remove_tree(world.disk, "tenants"));
    Tenant tenant(storage, tenant_id(), Generation(2), options, 64 << 20, scope);
    VARVE_TRY(tenant.attach());
    Timeline* timeline = tenant.find(timeline_id());
    EXPECT_NE(timeline, nullptr);
    if (timeline != nullptr) {
      EXPECT_EQ(timeline->last_record(), end);
      EXPECT_EQ(compare_directory(*timeline, final, end).unequal, 0u);
    }
    tenant.stop();
    return Status();
  });
}

TEST(StorageStock, TheLastTablesCostWhatTheFirstDid) {
  constexpr int kTables = 20000;
  constexpr int kPart = 5000;
  test::StockServer server(kSettings);
  const ClusterFiles initial = read_cluster(server.data());
  server.start();
  std::vector<Lsn> marks;
  const auto mark = [&] {
    std::string text = server.sql("postgres", "select pg_current_wal_insert_lsn()");
    while (!text.empty() && text.back() == '\n') text.pop_back();
    marks.push_back(*Lsn::parse(text));
  };
  for (int table = 0; table < kTables; table += kPart) {
    mark();
    for (int from = table; from < table + kPart; from += 1000) {
      server.sql("postgres",
                 "do $$ begin for i in " + std::to_string(from) + ".." +
                     std::to_string(from + 999) +
                     " loop execute 'create table t' || i || '(a int)'; end loop; end $$");
    }
  }
  mark();
  server.stop("fast");
  run_real([&](World& world) -> Status {
    test::MemoryObjects objects;
    Scope scope("test");
    StorageOptions options;
    options.compaction.level0_threshold = 64;  // flushes alone are measured
    options.timeline.max_level0_layers = 256;
    const StorageWorld storage{world.disk, objects, world.offload};
    Tenant tenant(storage, tenant_id(), Generation(1), options, 64 << 20, scope);
    VARVE_TRY_ASSIGN(const Tenant::Created created, tenant.import(timeline_id(), initial));
    std::vector<double> bytes;
    std::vector<double> seconds;
    for (const Lsn lsn : marks) {
      const uint64_t held = objects.bytes_of("delta-");
      const auto before = std::chrono::steady_clock::now();
      VARVE_TRY(feed(*created.timeline, server.wal(), lsn));
      VARVE_TRY(created.timeline->flush());
      seconds.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count());
      bytes.push_back(static_cast<double>(objects.bytes_of("delta-") - held));
    }
    const double byte_ratio = bytes[4] / bytes[1];
    std::printf(
        "5,000 tables: first %.0f bytes in %.2f s, last %.0f bytes in %.2f s: %.3f x, %.2f x\n",
        bytes[1], seconds[1], bytes[4], seconds[4], byte_ratio, seconds[4] / seconds[1]);
    EXPECT_LE(byte_ratio, 1.15);
    tenant.stop();
    return Status();
  });
}

}  // namespace
}  // namespace varve::storage
