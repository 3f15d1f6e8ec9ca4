#include "wal/control_file.h"

#include <algorithm>

#include "base/codec.h"
#include "base/crc32c.h"

namespace varve::wal {
namespace {

constexpr size_t kSystemId = 0;
constexpr size_t kControlVersion = 8;
constexpr size_t kCatalogVersion = 12;
constexpr size_t kState = 16;
constexpr size_t kTime = 24;
constexpr size_t kCheckpointRecord = 32;
constexpr size_t kCheckpoint = 40;
constexpr size_t kUnloggedLsn = 128;
constexpr size_t kMinimumRecoveryPoint = 136;
constexpr size_t kMinimumRecoveryTimeline = 144;
constexpr size_t kBackupStart = 152;
constexpr size_t kBackupEnd = 160;
constexpr size_t kBackupEndRequired = 168;
constexpr size_t kWalLevel = 172;
constexpr size_t kWalLogHints = 176;
constexpr size_t kMaxConnections = 180;
constexpr size_t kMaxWorkerProcesses = 184;
constexpr size_t kMaxWalSenders = 188;
constexpr size_t kMaxPreparedTransactions = 192;
constexpr size_t kMaxLocksPerTransaction = 196;
constexpr size_t kTrackCommitTimestamp = 200;
constexpr size_t kBlockSizeField = 216;
constexpr size_t kRelationSegmentBlocks = 220;
constexpr size_t kWalPageSizeField = 224;
constexpr size_t kSegmentSize = 228;
constexpr size_t kDataChecksumVersion = 252;

// The lowest "LSN" that pages of unlogged relations may have; a server never starts below it.
constexpr uint64_t kFirstUnloggedLsn = 1000;
constexpr uint32_t kBlocksPerRelationSegment = 131072;

Status corrupt(std::string what) {
  return Status(Code::kCorrupt, "pg_control: " + std::move(what))
      .with_hint("restore global/pg_control from where the directory came from");
}

Status check_bytes(const Version& version, std::span<const uint8_t> bytes) {
  if (bytes.size() != kControlFileSize)
    return corrupt(std::to_string(bytes.size()) + " bytes instead of " +
                   std::to_string(kControlFileSize));
  const uint8_t* p = bytes.data();
  const uint32_t control_version = load_le<uint32_t>(p + kControlVersion);
  if (control_version != version.control_version) {
    return Status(Code::kUnsupported, "pg_control has version " + std::to_string(control_version) +
                                          "; Postgres " + std::to_string(version.major) + " has " +
                                          std::to_string(version.control_version))
        .with_hint("check PG_VERSION in the data directory");
  }
  if (crc32c(bytes.first(version.control_crc)) != load_le<uint32_t>(p + version.control_crc))
    return corrupt("checksum does not match");
  if (load_le<uint32_t>(p + kState) > static_cast<uint32_t>(ClusterState::kInProduction))
    return corrupt("unknown cluster state");
  const uint32_t segment_size = load_le<uint32_t>(p + kSegmentSize);
  if (!valid_segment_size(segment_size))
    return corrupt("WAL segment size " + std::to_string(segment_size));
  if (load_le<uint32_t>(p + kBlockSizeField) != kBlockSize ||
      load_le<uint32_t>(p + kWalPageSizeField) != kWalPageSize ||
      load_le<uint32_t>(p + kRelationSegmentBlocks) != kBlocksPerRelationSegment) {
    return Status(Code::kUnsupported, "Postgres was built with block sizes that are not the usual")
        .with_hint("8 KiB blocks, 8 KiB WAL pages and 1 GiB relation segments are supported");
  }
  return Status();
}

void store_parameters(const ServerParameters& parameters, uint8_t* p) {
  store_le<int32_t>(p + kWalLevel, parameters.wal_level);
  p[kWalLogHints] = parameters.wal_log_hints ? 1 : 0;
  store_le<int32_t>(p + kMaxConnections, parameters.max_connections);
  store_le<int32_t>(p + kMaxWorkerProcesses, parameters.max_worker_processes);
  store_le<int32_t>(p + kMaxWalSenders, parameters.max_wal_senders);
  store_le<int32_t>(p + kMaxPreparedTransactions, parameters.max_prepared_transactions);
  store_le<int32_t>(p + kMaxLocksPerTransaction, parameters.max_locks_per_transaction);
  p[kTrackCommitTimestamp] = parameters.track_commit_timestamp ? 1 : 0;
}

ServerParameters load_parameters(const uint8_t* p) {
  ServerParameters parameters;
  parameters.wal_level = load_le<int32_t>(p + kWalLevel);
  parameters.wal_log_hints = p[kWalLogHints] != 0;
  parameters.max_connections = load_le<int32_t>(p + kMaxConnections);
  parameters.max_worker_processes = load_le<int32_t>(p + kMaxWorkerProcesses);
  parameters.max_wal_senders = load_le<int32_t>(p + kMaxWalSenders);
  parameters.max_prepared_transactions = load_le<int32_t>(p + kMaxPreparedTransactions);
  parameters.max_locks_per_transaction = load_le<int32_t>(p + kMaxLocksPerTransaction);
  parameters.track_commit_timestamp = p[kTrackCommitTimestamp] != 0;
  return parameters;
}

}  // namespace

const char* cluster_state_name(ClusterState state) {
  switch (state) {
    case ClusterState::kStartingUp:
      return "starting up";
    case ClusterState::kShutDown:
      return "shut down";
    case ClusterState::kShutDownInRecovery:
      return "shut down in recovery";
    case ClusterState::kShuttingDown:
      return "shutting down";
    case ClusterState::kInCrashRecovery:
      return "in crash recovery";
    case ClusterState::kInArchiveRecovery:
      return "in archive recovery";
    case ClusterState::kInProduction:
      return "in production";
  }
  VARVE_UNREACHABLE("cluster state");
}

LogIdentity ControlFile::identity(const Version& version) const {
  return {&version, system_id, segment_size, checkpoint.timeline};
}

Result<ControlFile> parse_control_file(const Version& version, std::span<const uint8_t> bytes) {
  VARVE_TRY(check_bytes(version, bytes));
  const uint8_t* p = bytes.data();
  ControlFile control;
  control.system_id = load_le<uint64_t>(p + kSystemId);
  control.control_version = load_le<uint32_t>(p + kControlVersion);
  control.catalog_version = load_le<uint32_t>(p + kCatalogVersion);
  control.state = static_cast<ClusterState>(load_le<uint32_t>(p + kState));
  control.time = load_le<int64_t>(p + kTime);
  control.checkpoint_record = Lsn(load_le<uint64_t>(p + kCheckpointRecord));
  VARVE_TRY_ASSIGN(control.checkpoint, Checkpoint::parse(version, bytes.subspan(kCheckpoint)));
  control.unlogged_lsn = Lsn(load_le<uint64_t>(p + kUnloggedLsn));
  control.minimum_recovery_point = Lsn(load_le<uint64_t>(p + kMinimumRecoveryPoint));
  control.backup_start = Lsn(load_le<uint64_t>(p + kBackupStart));
  control.backup_end = Lsn(load_le<uint64_t>(p + kBackupEnd));
  control.backup_end_required = p[kBackupEndRequired] != 0;
  control.parameters = load_parameters(p);
  control.segment_size = load_le<uint32_t>(p + kSegmentSize);
  control.data_checksum_version = load_le<uint32_t>(p + kDataChecksumVersion);
  return control;
}

Result<std::vector<uint8_t>> forge_control_file(const Version& version,
                                                std::span<const uint8_t> original,
                                                const ForgedStart& start) {
  VARVE_TRY(check_bytes(version, original));
  std::vector<uint8_t> file(original.begin(), original.end());
  uint8_t* p = file.data();
  store_le<uint32_t>(p + kState, static_cast<uint32_t>(ClusterState::kShutDown));
  store_le<int64_t>(p + kTime, start.time);
  store_le<uint64_t>(p + kCheckpointRecord, start.checkpoint_record.value);
  const auto checkpoint = start.checkpoint.encode(version);
  std::copy(checkpoint.begin(), checkpoint.end(), p + kCheckpoint);
  const uint64_t unlogged = load_le<uint64_t>(p + kUnloggedLsn);
  store_le<uint64_t>(p + kUnloggedLsn, std::max(unlogged, kFirstUnloggedLsn));
  store_le<uint64_t>(p + kMinimumRecoveryPoint, 0);
  store_le<uint32_t>(p + kMinimumRecoveryTimeline, 0);
  store_le<uint64_t>(p + kBackupStart, 0);
  store_le<uint64_t>(p + kBackupEnd, 0);
  p[kBackupEndRequired] = 0;
  store_parameters(start.parameters, p);
  store_le<uint32_t>(p + version.control_crc, crc32c(std::span(file).first(version.control_crc)));
  return file;
}

}  // namespace varve::wal
