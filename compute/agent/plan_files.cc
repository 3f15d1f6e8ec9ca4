#include "compute/agent/plan_files.h"

#include <algorithm>
#include <array>

#include "base/codec.h"
#include "base/crc32c.h"
#include "wal/page.h"

namespace varve::compute {
namespace {

// The file in which Postgres keeps how far it has replayed from each origin: a number, the
// origins, a checksum over both.
constexpr uint32_t kOriginsMagic = 0x1257DADE;

Bytes origins_file(std::vector<Manifest::ReplicationOrigin> origins) {
  std::sort(origins.begin(), origins.end(),
            [](const auto& a, const auto& b) { return a.origin < b.origin; });
  Writer out;
  out.le<uint32_t>(kOriginsMagic);
  for (const Manifest::ReplicationOrigin& o : origins) {
    out.le<uint16_t>(o.origin);
    out.zeros(6);
    out.le<uint64_t>(o.remote_lsn.value);
  }
  out.le<uint32_t>(crc32c(out.span()));
  return Bytes::copy(out.span());
}

std::string quoted(const std::string& value) {
  std::string text = "'";
  for (char c : value) {
    if (c == '\'' || c == '\\') text += c;
    text += c;
  }
  return text + "'";
}

// Names that would move the files that the plan writes.
constexpr std::array<const char*, 5> kPlacement = {"data_directory", "config_file", "hba_file",
                                                   "ident_file", "include"};

bool is_name(const std::string& name) {
  return !name.empty() &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.") == std::string::npos;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> fixed_settings(uint16_t major) {
  std::vector<std::pair<std::string, std::string>> fixed = {
      {"fsync", "on"},                   // the gate is in the sync of the log
      {"wal_sync_method", "fdatasync"},  // and in no other way to sync it
      {"full_page_writes", "off"},       // local pages are a cache: torn ones are thrown away
      {"restart_after_crash", "off"},    // recovery would show what no quorum holds
      {"wal_level", "replica"},          // storage needs every change
      {"wal_log_hints", "off"},          // hint bits are no changes
      {"archive_mode", "off"},           // segments have a forged prefix
      {"wal_recycle", "off"},            // no old bytes behind the end of the log
      {"wal_init_zero", "off"},          // the disk is a cache
      // In the data directory, which goes with the life: what is in /dev/shm stays for ever when a
      // Postgres is killed, because no other one ever begins in its directory.
      {"dynamic_shared_memory_type", "mmap"},
      {"synchronous_standby_names", ""},  // the quorum is elsewhere
      {"max_wal_senders", "0"},           // each would send what no quorum holds
  };
  if (major >= 18) fixed.emplace_back("io_method", "worker");  // io_uring passes the shim by
  return fixed;
}

std::vector<std::string> fixed_directories() {
  return {"base",
          "global",
          "pg_commit_ts",
          "pg_dynshmem",
          "pg_logical",
          "pg_logical/mappings",
          "pg_logical/snapshots",
          "pg_multixact",
          "pg_multixact/members",
          "pg_multixact/offsets",
          "pg_notify",
          "pg_replslot",
          "pg_serial",
          "pg_snapshots",
          "pg_stat",
          "pg_stat_tmp",
          "pg_subtrans",
          "pg_tblspc",
          "pg_twophase",
          "pg_wal",
          "pg_wal/archive_status",
          "pg_xact"};
}

Bytes version_text(uint16_t major) {
  return Bytes::copy(std::to_string(major) + "\n");
}

Status check_settings(const ComputeSettings& settings, uint16_t major) {
  const auto fixed = fixed_settings(major);
  for (const auto& [name, value] : settings.parameters) {
    if (!is_name(name)) return Status(Code::kInvalid, "no name of a setting: " + name);
    if (value.find_first_of("\n\r") != std::string::npos || value.find('\0') != std::string::npos)
      return Status(Code::kInvalid, "a line break in the setting " + name);
    if (name == "wal_level" && value == "logical") {
      return Status(Code::kUnsupported,
                    "logical decoding: its slots would be lost at the next start");
    }
    const bool ours =
        std::any_of(fixed.begin(), fixed.end(), [&](const auto& f) { return f.first == name; }) ||
        std::any_of(kPlacement.begin(), kPlacement.end(),
                    [&](const char* p) { return name.starts_with(p); });
    if (ours) {
      return Status(Code::kInvalid, "the setting " + name + " can't be chosen")
          .with_hint("how computes begin, commit and end rests on it");
    }
  }
  for (const std::string& rule : settings.host_rules) {
    if (rule.find_first_of("\n\r") != std::string::npos)
      return Status(Code::kInvalid, "a line break in a rule of pg_hba.conf");
  }
  return Status();
}

Status add_configuration(const Manifest& manifest, const ComputeSettings& settings,
                         PostgresPlan& plan) {
  VARVE_TRY(check_settings(settings, manifest.major));
  const wal::ServerParameters& known = manifest.state.parameters();
  for (const auto& [name, value] : fixed_settings(manifest.major))
    plan.settings.push_back(name + "=" + value);
  // Fewer than there are prepared ones, and Postgres refuses to start.
  if (!manifest.two_phase.empty()) {
    const auto prepared =
        std::max(known.max_prepared_transactions, static_cast<int32_t>(manifest.two_phase.size()));
    plan.settings.push_back("max_prepared_transactions=" + std::to_string(prepared));
  }
  // The same for origins, whose places are those of slots.
  constexpr size_t kDefaultSlots = 10;
  if (manifest.origins.size() > kDefaultSlots)
    plan.settings.push_back("max_replication_slots=" + std::to_string(manifest.origins.size()));

  std::string conf = "# Written at each start. ALTER SYSTEM is kept, edits here are not.\n";
  // What the log depends on goes on as it was, unless the endpoint says otherwise below.
  const auto keep = [&](const char* name, int32_t value) {
    if (value > 0) conf += std::string(name) + " = " + std::to_string(value) + "\n";
  };
  keep("max_connections", known.max_connections);
  keep("max_worker_processes", known.max_worker_processes);
  keep("max_prepared_transactions", known.max_prepared_transactions);
  keep("max_locks_per_transaction", known.max_locks_per_transaction);
  if (known.track_commit_timestamp) conf += "track_commit_timestamp = on\n";
  for (const auto& [name, value] : settings.parameters) conf += name + " = " + quoted(value) + "\n";
  // Replicas read from the log service, which knows what is committed; a walsender here would send
  // what is not, and the forged prefix. These rules are for the message only: what names a database
  // (replication=database) passes by them and may stream all the same, so there are no walsenders.
  std::string rules =
      "local replication all reject\n"
      "host replication all all reject\n";
  for (const std::string& rule : settings.host_rules) rules += rule + "\n";

  plan.files.push_back({"PG_VERSION", version_text(manifest.major)});
  plan.files.push_back({"postgresql.conf", Bytes::copy(conf)});
  plan.files.push_back({"postgresql.auto.conf", Bytes::copy(settings.auto_conf)});
  plan.files.push_back({"pg_hba.conf", Bytes::copy(rules)});
  plan.files.push_back({"pg_ident.conf", Bytes()});
  if (!manifest.origins.empty())
    plan.files.push_back({"pg_logical/replorigin_checkpoint", origins_file(manifest.origins)});
  return Status();
}

Status prefix_is_sound(const Manifest& manifest, const wal::LogIdentity& identity) {
  if (manifest.page_prefix.empty()) return Status();
  const Lsn page = manifest.lsn.page_start();
  const auto header = wal::read_page_header(manifest.page_prefix.span());
  if (!header.has_value()) {
    return Status(Code::kCorrupt, "the log's bytes before the start are no page").with_lsn(page);
  }
  return wal::check_page_header(identity, page, *header);
}

Status add_log_segments(const Manifest& manifest, const ForgedRecord& forged, PostgresPlan& plan) {
  VARVE_TRY(prefix_is_sound(manifest, forged.identity));
  const uint32_t size = forged.identity.segment_size;
  std::vector<wal::LogPiece> pieces =
      wal::forged_segment_pieces(forged.identity, forged.checkpoint);
  if (!manifest.page_prefix.empty()) {
    // The true bytes, header included, in place of the made-up header.
    const Lsn page = manifest.lsn.page_start();
    const auto span = manifest.page_prefix.span();
    for (wal::LogPiece& piece : pieces) {
      if (piece.at == page) piece.bytes.assign(span.begin(), span.end());
    }
  }
  for (const wal::LogPiece& piece : pieces) {
    for (uint64_t done = 0; done < piece.bytes.size();) {
      const Lsn at = piece.at + done;
      const uint32_t offset = at.segment_offset(size);
      const uint64_t here = std::min<uint64_t>(piece.bytes.size() - done, size - offset);
      const std::string path = "pg_wal/" + wal::segment_file_name({1, at.segment(size)}, size);
      if (plan.sparse_files.empty() || plan.sparse_files.back().path != path)
        plan.sparse_files.push_back({path, size, {}});
      plan.sparse_files.back().pieces.push_back(
          {offset, Bytes::copy(std::span(piece.bytes).subspan(done, here))});
      done += here;
    }
  }
  return Status();
}

}  // namespace varve::compute
