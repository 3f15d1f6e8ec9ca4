// Our reading of a real server's log against the server: its own tool's counts, its own counters at
// each shutdown, its status files, and the bytes of the log itself written again.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/random.h"
#include "tests/wal/status_files.h"
#include "tests/wal/stock_server.h"
#include "wal/checkpoint_record.h"
#include "wal/checkpoint_state.h"
#include "wal/control_file.h"
#include "wal/decoder.h"
#include "wal/effects.h"
#include "wal/extent.h"
#include "wal/record_names.h"
#include "wal/writer.h"

namespace varve::wal {
namespace {

using test::read_file;
using test::StockServer;

const Version& version() {
  return *version_of_major(15);
}

// The whole log of a cluster, from initdb's first record on.
struct Log {
  LogIdentity identity;
  Lsn begin;
  std::vector<uint8_t> bytes;

  Decoder decoder() const {
    Decoder d({identity, Depth::kFull, TimelineRule::kExact});
    d.reset_to_page(begin);
    d.feed(begin, bytes);
    return d;
  }
};

Log load_log(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    if (parse_segment_file_name(name, kDefaultSegmentSize).has_value()) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  Log log;
  log.identity = *identity_of_segment(read_file(directory + "/" + names.front()));
  log.begin = Lsn(parse_segment_file_name(names.front(), kDefaultSegmentSize)->number *
                  kDefaultSegmentSize);
  for (const std::string& name : names) {
    const std::vector<uint8_t> segment = read_file(directory + "/" + name);
    log.bytes.insert(log.bytes.end(), segment.begin(), segment.end());
  }
  return log;
}

// One corpus for all tests: initdb, pgbench, the script, settings that change, clean stops and a
// crash.
class WalOracle : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<StockServer>(
        "wal_keep_size = 20GB\nmax_wal_size = 8GB\nwal_level = logical\n"
        "max_prepared_transactions = 10\ntrack_commit_timestamp = on\nfull_page_writes = on\n"
        "wal_compression = lz4\nautovacuum = on\n");
    server_->start();
    server_->sql("postgres", "CREATE DATABASE bench");
    ASSERT_EQ(server_->tool("pgbench -q -i -s 2 bench").exit_code, 0);
    pgbench("-c 4 -t 2000");
    server_->stop("fast");
    server_->set("full_page_writes = off\nwal_compression = pglz\nmax_connections = 50\n");
    server_->start();
    server_->sql_file("postgres", WAL_CORPUS_SQL);
    server_->sql("postgres",
                 "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf(), pg_sleep(0.5);"
                 "ALTER SYSTEM RESET full_page_writes");
    server_->stop("fast");
    // Commit timestamps go when they are switched off: keep what there is now.
    ASSERT_EQ(
        test::run_as_postgres("mkdir " + early() + "; cp -a " + server_->data() + "/pg_xact " +
                              server_->data() + "/pg_commit_ts " + server_->data() +
                              "/pg_multixact " + server_->data() + "/pg_twophase " + early())
            .exit_code,
        0);
    early_end_ = parse_control_file(version(), read_file(server_->data() + "/global/pg_control"))
                     ->checkpoint_record;
    server_->set("track_commit_timestamp = off\nwal_compression = zstd\nfull_page_writes = on\n");
    server_->start();
    pgbench("-c 2 -t 300");
    server_->stop("fast");
    // A crash, and recovery with the same settings: its last record is a shutdown checkpoint too.
    server_->start();
    pgbench("-c 8 -t 1000 -M prepared");
    server_->stop("immediate");
    server_->start();
    pgbench("-c 2 -t 300");
    server_->stop("fast");
    server_->set("track_commit_timestamp = on\n");
    server_->start();
    pgbench("-c 2 -t 500");
    server_->sql("bench", "SELECT count(lo_create(0)) FROM generate_series(1, 3000)");
    server_->stop("fast");
    log_ = std::make_unique<Log>(load_log(server_->wal()));
    std::printf("corpus: %zu MiB of log\n", log_->bytes.size() >> 20);
  }
  static void pgbench(const std::string& options) {
    const test::CommandResult result = server_->tool("pgbench " + options + " bench");
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }
  static void TearDownTestSuite() {
    log_.reset();
    server_.reset();
  }

  static std::string early() { return server_->directory() + "/early"; }

  static std::unique_ptr<StockServer> server_;
  static std::unique_ptr<Log> log_;
  static Lsn
      early_end_;  // of the status files in early(): the record that ended their server's life
};

Lsn WalOracle::early_end_;
std::unique_ptr<StockServer> WalOracle::server_;
std::unique_ptr<Log> WalOracle::log_;

// "name count record-bytes image-bytes" lines of either tool.
std::map<std::string, std::vector<uint64_t>> parse_counts(const std::string& output) {
  std::map<std::string, std::vector<uint64_t>> counts;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    if (name.find('/') == std::string::npos) continue;
    std::vector<uint64_t> numbers;
    for (std::string word; words >> word && numbers.size() < 3;) {
      if (word.find_first_not_of("0123456789") == std::string::npos)
        numbers.push_back(std::stoull(word));
    }
    if (numbers.size() == 3) counts[name] = numbers;
  }
  return counts;
}

TEST_F(WalOracle, CountsEqualThoseOfPgWaldump) {
  const std::string first =
      segment_file_name({1, log_->begin.segment(kDefaultSegmentSize)}, kDefaultSegmentSize);
  const auto theirs = server_->tool("pg_waldump --stats=record -p " + server_->wal() + " -s " +
                                    (log_->begin + kLongHeaderSize).to_string());
  const auto ours =
      test::run_as_postgres(std::string("cat ") + WALDECODE + " > " + server_->directory() +
                            "/waldecode; chmod +x " + server_->directory() + "/waldecode; " +
                            server_->directory() + "/waldecode --stats " + server_->wal());
  const auto expected = parse_counts(theirs.output);
  const auto got = parse_counts(ours.output);
  ASSERT_GT(expected.size(), 60u) << theirs.output;
  uint64_t records = 0;
  for (const auto& [name, numbers] : expected) {
    const auto found = got.find(name);
    ASSERT_NE(found, got.end()) << name << "\n" << ours.output;
    EXPECT_EQ(found->second, numbers) << name;
    records += numbers[0];
  }
  EXPECT_EQ(got.size(), expected.size());
  std::printf("%zu types, %lu records\n", expected.size(), records);
}

// What the corpus must contain for the other tests to mean something.
TEST_F(WalOracle, CorpusHasEveryEffect) {
  const std::set<std::string> needed = {"XLOG/CHECKPOINT_SHUTDOWN",
                                        "XLOG/CHECKPOINT_ONLINE",
                                        "XLOG/NEXTOID",
                                        "XLOG/SWITCH",
                                        "XLOG/PARAMETER_CHANGE",
                                        "XLOG/RESTORE_POINT",
                                        "XLOG/FPW_CHANGE",
                                        "XLOG/FPI",
                                        "Transaction/COMMIT",
                                        "Transaction/ABORT",
                                        "Transaction/PREPARE",
                                        "Transaction/COMMIT_PREPARED",
                                        "Transaction/ABORT_PREPARED",
                                        "Transaction/ASSIGNMENT",
                                        "Storage/CREATE",
                                        "Storage/TRUNCATE",
                                        "CLOG/ZEROPAGE",
                                        "Database/CREATE_FILE_COPY",
                                        "Database/CREATE_WAL_LOG",
                                        "Database/DROP",
                                        "Tablespace/CREATE",
                                        "Tablespace/DROP",
                                        "MultiXact/CREATE_ID",
                                        "MultiXact/ZERO_OFF_PAGE",
                                        "MultiXact/ZERO_MEM_PAGE",
                                        "RelMap/UPDATE",
                                        "Standby/RUNNING_XACTS",
                                        "CommitTs/ZEROPAGE",
                                        "ReplicationOrigin/SET",
                                        "ReplicationOrigin/DROP",
                                        "LogicalMessage/MESSAGE",
                                        "Heap/LOCK",
                                        "Heap2/VISIBLE"};
  std::set<std::string> missing = needed;
  Decoder decoder = log_->decoder();
  Record record;
  while (decoder.next(record) == Step::kRecord)
    missing.erase(record_name(version(), record.rmid, record.info));
  for (const std::string& name : missing) ADD_FAILURE() << name << " is not in the corpus";
}

// Any split of the input gives the same records.
TEST_F(WalOracle, SplitsDoNotMatter) {
  const auto digest = [&](uint64_t seed) {
    RandomStream random(seed, "splits");
    Decoder decoder({log_->identity, Depth::kFull, TimelineRule::kExact});
    decoder.reset_to_page(log_->begin);
    Record record;
    uint64_t hash = 0;
    size_t fed = 0;
    while (true) {
      const Step step = decoder.next(record);
      if (step == Step::kRecord) {
        hash = mix64(hash ^ record.start.value) + record.crc;
        hash = mix64(hash ^ record.end.value) + record.blocks.size() + record.main_data.size();
        continue;
      }
      if (step != Step::kNeedMore) break;
      const uint64_t most = random.chance(500000) ? 300 : 100000;
      const size_t size = std::min<size_t>(log_->bytes.size() - fed,
                                           seed == 0 ? log_->bytes.size() : random.below(most));
      decoder.feed(log_->begin + fed, std::span(log_->bytes).subspan(fed, size));
      fed += size;
    }
    return mix64(hash ^ decoder.boundary().value);
  };
  const uint64_t whole = digest(0);
  for (uint64_t seed = 1; seed <= 5; ++seed) EXPECT_EQ(digest(seed), whole) << seed;
}

// Every record built again from its decoded parts, and laid into pages again, is the log.
TEST_F(WalOracle, WritingAgainGivesTheSameBytes) {
  Decoder decoder = log_->decoder();
  Record record;
  std::vector<uint8_t> out;
  std::unique_ptr<LogWriter> writer;
  uint64_t records = 0;
  while (decoder.next(record) == Step::kRecord) {
    RecordParts parts;
    parts.xid = record.xid;
    parts.info = record.info;
    parts.rmid = record.rmid;
    parts.blocks = record.blocks;
    parts.main_data = record.main_data;
    parts.origin = record.origin;
    parts.toplevel_xid = record.toplevel_xid;
    std::vector<uint8_t> raw = build_record(version(), parts);
    if (writer == nullptr)
      writer = std::make_unique<LogWriter>(log_->identity, log_->begin, record.previous);
    const Lsn before = writer->boundary();
    out.clear();
    const LsnRange extent = writer->append(raw, out);
    ASSERT_EQ(extent, (LsnRange{record.start, record.end}));
    ASSERT_TRUE(std::equal(raw.begin(), raw.end(), record.raw.begin(), record.raw.end()))
        << record_name(version(), record.rmid, record.info) << " at " << record.start.to_string();
    // The pages, except the bit that says whether a backup runs.
    const uint8_t* real = log_->bytes.data() + (before - log_->begin);
    for (Lsn page((before.value + 8191) & ~uint64_t{8191}); page < record.end; page = page + 8192) {
      const size_t at = page - before;
      const bool filled = load_le<uint16_t>(real + at) == 0;  // behind a switch
      if (!filled) out[at + 2] |= real[at + 2] & kPageBlocksRemovable;
    }
    ASSERT_EQ(std::memcmp(out.data(), real, out.size()), 0) << record.start.to_string();
    ++records;
  }
  EXPECT_GT(records, 300000u);
}

// A CHECKPOINT_SHUTDOWN says what a server's counters are; ours must say so before reading it.
TEST_F(WalOracle, CountersEqualThoseAtEachShutdown) {
  Decoder decoder = log_->decoder();
  Record record;
  Effect effect;
  std::unique_ptr<CheckpointState> state;
  int compared = 0;
  while (decoder.next(record) == Step::kRecord) {
    const Status parsed = parse_effect(version(), record, effect);
    ASSERT_TRUE(parsed.ok()) << parsed.to_string();
    const auto* taken = std::get_if<CheckpointTaken>(&effect);
    if (state == nullptr) {
      // The first record of a cluster is the checkpoint that initdb began with; its settings are
      // the defaults.
      ASSERT_TRUE(taken != nullptr && taken->shutdown);
      ServerParameters parameters;
      parameters.wal_level = 1;
      state = std::make_unique<CheckpointState>(taken->checkpoint, parameters);
      continue;
    }
    if (taken != nullptr && taken->shutdown) {
      SCOPED_TRACE(record.start.to_string());
      const Checkpoint& theirs = taken->checkpoint;
      const Checkpoint ours = state->checkpoint(version(), theirs.redo, theirs.time);
      EXPECT_EQ(ours.next_xid, theirs.next_xid);
      EXPECT_GE(ours.next_oid, theirs.next_oid);
      EXPECT_LT(ours.next_oid, theirs.next_oid + 8192 + 1);
      EXPECT_EQ(ours.next_multi, theirs.next_multi);
      EXPECT_EQ(ours.next_multi_offset, theirs.next_multi_offset);
      EXPECT_EQ(ours.timeline, theirs.timeline);
      EXPECT_EQ(ours.newest_commit_timestamp_xid, theirs.newest_commit_timestamp_xid);
      EXPECT_EQ(ours.oldest_commit_timestamp_xid, theirs.oldest_commit_timestamp_xid);
      // Vacuum may advance these without a record when no file could go.
      EXPECT_FALSE(xid_precedes(theirs.oldest_xid, ours.oldest_xid));
      EXPECT_FALSE(modular_precedes(theirs.oldest_multi, ours.oldest_multi));
      EXPECT_EQ(theirs.redo, record.start);
      ++compared;
    }
    state->apply(record, effect);
  }
  EXPECT_GE(compared, 5);
  std::printf("%d shutdowns compared\n", compared);

  const std::vector<uint8_t> file = read_file(server_->data() + "/global/pg_control");
  const auto control = parse_control_file(version(), file);
  ASSERT_TRUE(control.ok()) << control.status().to_string();
  EXPECT_EQ(state->parameters(), control->parameters);
}

std::string reported(const std::string& output, const std::string& label) {
  const size_t at = output.find(label);
  if (at == std::string::npos) return "no " + label;
  size_t from = at + label.size();
  while (output[from] == ' ') ++from;
  return output.substr(from, output.find('\n', from) - from);
}

TEST_F(WalOracle, ControlFileRoundTrip) {
  const std::vector<uint8_t> file = read_file(server_->data() + "/global/pg_control");
  const auto control = parse_control_file(version(), file);
  ASSERT_TRUE(control.ok()) << control.status().to_string();
  const std::string told = server_->tool("pg_controldata " + server_->data()).output;
  EXPECT_EQ(reported(told, "Database system identifier:"), std::to_string(control->system_id));
  EXPECT_EQ(reported(told, "Catalog version number:"), std::to_string(control->catalog_version));
  EXPECT_EQ(reported(told, "Database cluster state:"), cluster_state_name(control->state));
  EXPECT_EQ(reported(told, "Latest checkpoint location:"), control->checkpoint_record.to_string());
  EXPECT_EQ(reported(told, "Latest checkpoint's NextOID:"),
            std::to_string(control->checkpoint.next_oid));
  EXPECT_EQ(reported(told, "Latest checkpoint's NextMultiXactId:"),
            std::to_string(control->checkpoint.next_multi));
  EXPECT_EQ(reported(told, "Latest checkpoint's NextMultiOffset:"),
            std::to_string(control->checkpoint.next_multi_offset));
  EXPECT_EQ(reported(told, "max_connections setting:"),
            std::to_string(control->parameters.max_connections));
  EXPECT_EQ(reported(told, "max_prepared_xacts setting:"),
            std::to_string(control->parameters.max_prepared_transactions));
  EXPECT_EQ(reported(told, "track_commit_timestamp setting:"), "on");
  EXPECT_EQ(reported(told, "Bytes per WAL segment:"), std::to_string(control->segment_size));
  EXPECT_EQ(control->identity(version()), log_->identity);
  // Forging what the file already says gives the file.
  const auto again = forge_control_file(
      version(), file,
      {control->checkpoint_record, control->checkpoint, control->parameters, control->time});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, file);
}

// Status pages rebuilt from the log alone equal the server's files.
TEST_F(WalOracle, StatusFilesEqual) {
  test::StatusFiles files(version(), false);
  Decoder decoder = log_->decoder();
  Record record;
  Effect effect;
  while (decoder.next(record) == Step::kRecord) {
    ASSERT_TRUE(parse_effect(version(), record, effect).ok());
    files.apply(effect);
    if (record.start == early_end_)
      std::printf("%zu status pages equal in the middle\n", files.compare(early()));
  }
  std::printf("%zu status pages equal at the end\n", files.compare(server_->data()));
  EXPECT_EQ(files.prepared(), 1u);
}

// Bytes of the log into the server's segment files, which are made when they don't exist.
void write_log(const StockServer& server, Lsn at, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const uint32_t offset = at.segment_offset(kDefaultSegmentSize);
    const std::string path =
        server.wal() + "/" +
        segment_file_name({1, at.segment(kDefaultSegmentSize)}, kDefaultSegmentSize);
    if (!std::filesystem::exists(path))
      test::run_as_postgres("head -c 16777216 /dev/zero > " + path);
    std::vector<uint8_t> segment = read_file(path);
    const size_t count = std::min<size_t>(bytes.size(), kDefaultSegmentSize - offset);
    std::copy_n(bytes.begin(), count, segment.begin() + offset);
    test::write_file(path, segment);
    bytes = bytes.subspan(count);
    at = at + count;
  }
}

// A logical message, which no redo looks at, that takes exactly the log up to `target`.
std::vector<uint8_t> filler(Lsn boundary, Lsn target) {
  const uint64_t total = record_bytes_between(boundary, target, kDefaultSegmentSize);
  Writer main;
  main.zeros(8);         // database, not transactional
  main.le<uint64_t>(1);  // the prefix's length with its zero
  const uint64_t size = total - kRecordHeaderSize - (total - 26 <= 255 ? 2 : 5);
  main.le<uint64_t>(size - 25);
  main.zeros(size - 24);
  RecordParts parts;
  parts.rmid = static_cast<uint8_t>(Rmgr::kLogicalMessage);
  parts.main_data = main.span();
  std::vector<uint8_t> raw = build_record(version(), parts);
  EXPECT_EQ(raw.size(), total);
  return raw;
}

// Where the log ends and the start of its last record; and the counters there.
struct LogEnd {
  Lsn boundary;
  Lsn previous;
};
LogEnd end_of_log(const StockServer& server, const ControlFile& control) {
  const Lsn from = control.checkpoint_record;
  const std::vector<uint8_t> segment =
      read_file(server.wal() + "/" +
                segment_file_name({1, from.segment(kDefaultSegmentSize)}, kDefaultSegmentSize));
  Decoder decoder({control.identity(version()), Depth::kHeader, TimelineRule::kExact});
  decoder.reset(from, std::nullopt);
  decoder.feed(from,
               std::span<const uint8_t>(segment).subspan(from.segment_offset(kDefaultSegmentSize)));
  Record record;
  // A clean stop: the checkpoint is the last record, and it ends in its segment or exactly with it.
  EXPECT_EQ(decoder.next(record), Step::kRecord) << decoder.status().to_string();
  return {record.end, record.start};
}

// A stock server starts from a checkpoint forged at the end of a log, without recovery, and goes
// on: for each way in which that record can lie on pages and segments.
TEST_F(WalOracle, StockServerStartsFromAForgedCheckpoint) {
  const std::string control_path = server_->data() + "/global/pg_control";
  constexpr uint64_t kPage = kWalPageSize;
  // Distance of the log's end from the next page or segment edge; the first is wherever it happens
  // to be.
  struct Place {
    const char* what;
    uint64_t unit;
    uint64_t before;
  };
  constexpr Place kPlaces[] = {{"where the log ended", 0, 0},
                               {"24 bytes before a page's end", kPage, 24},
                               {"8 bytes before a page's end", kPage, 8},
                               {"across a page", kPage, 112},
                               {"on a page's start", kPage, 0},
                               {"across a segment", kDefaultSegmentSize, 64},
                               {"8 bytes before a segment's end", kDefaultSegmentSize, 8},
                               {"on a segment's start", kDefaultSegmentSize, 0}};
  int round = 0;
  for (const Place& place : kPlaces) {
    SCOPED_TRACE(place.what);
    const std::vector<uint8_t> file = read_file(control_path);
    const auto control = parse_control_file(version(), file);
    ASSERT_TRUE(control.ok()) << control.status().to_string();
    const LogEnd end = end_of_log(*server_, *control);
    LogWriter writer(log_->identity, end.boundary, end.previous);
    if (place.unit != 0) {
      // The next such place that leaves room for the filler.
      const uint64_t edge =
          (end.boundary.value + 200 + place.before) / place.unit * place.unit + place.unit;
      std::vector<uint8_t> out;
      std::vector<uint8_t> raw = filler(end.boundary, Lsn(edge - place.before));
      writer.append(raw, out);
      write_log(*server_, end.boundary, out);
    }
    const CheckpointState state(control->checkpoint, control->parameters);
    const ForgedCheckpoint forged =
        forge_checkpoint(log_->identity, writer.boundary(), writer.previous(),
                         state.checkpoint(version(), Lsn(), control->time));
    write_log(*server_, forged.boundary, forged.bytes);
    const auto forged_control = forge_control_file(
        version(), file, {forged.start, forged.checkpoint, state.parameters(), control->time});
    ASSERT_TRUE(forged_control.ok());
    test::write_file(control_path, *forged_control);

    const size_t before = server_->log().size();
    server_->start();
    const std::string said = server_->log().substr(before);
    EXPECT_NE(said.find("database system was shut down at"), std::string::npos) << said;
    EXPECT_EQ(said.find("redo starts"), std::string::npos) << said;
    EXPECT_EQ(server_->sql("bench", "SELECT count(*) FROM pgbench_accounts"), "200000\n");
    const std::string table = "later" + std::to_string(round++);
    server_->sql("bench", "CREATE TABLE " + table + " AS SELECT generate_series(1, 10000) a");
    // Its own recovery goes through what it wrote behind the forged record.
    server_->stop("immediate");
    server_->start();
    EXPECT_EQ(server_->sql("bench", "SELECT count(*) FROM " + table), "10000\n");
    server_->stop("fast");
    const auto after = parse_control_file(version(), read_file(control_path));
    ASSERT_TRUE(after.ok());
    // One chain of records from the first to the last, through the forged one.
    const test::CommandResult dump =
        server_->tool("pg_waldump -q -p " + server_->wal() + " -s " +
                      (log_->begin + kLongHeaderSize).to_string() + " -e " +
                      end_of_log(*server_, *after).boundary.to_string());
    EXPECT_EQ(dump.exit_code, 0) << dump.output;
    if (HasFailure()) return;
  }
  // The prepared transaction of the corpus lives through all of it. It is rolled back, because a
  // stock server panics when it commits one that is older than the tracking of commit timestamps:
  // their page does not exist.
  server_->start();
  EXPECT_EQ(server_->sql("postgres",
                         "SELECT gid FROM pg_prepared_xacts; ROLLBACK PREPARED 'stays';"
                         "SELECT count(*) FROM two WHERE a = 1"),
            "stays\n1\n");
  server_->stop("fast");
}

}  // namespace
}  // namespace varve::wal
