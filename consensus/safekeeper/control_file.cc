#include "consensus/safekeeper/control_file.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "base/envelope.h"
#include "proto/safekeeper.pb.h"
#include "wal/page.h"

namespace varve::consensus {
namespace {

constexpr EnvelopeType kType{"safekeeper", 1, 1};
constexpr uint64_t kMaxControlFile = 16 << 20;

void put_members(const std::vector<Member>& members,
                 google::protobuf::RepeatedPtrField<proto::MemberRow>* rows) {
  for (const Member& member : members) {
    proto::MemberRow* row = rows->Add();
    row->set_node(member.node.value);
    row->set_host(member.host);
    row->set_port(member.port);
  }
}

std::vector<Member> get_members(const google::protobuf::RepeatedPtrField<proto::MemberRow>& rows) {
  std::vector<Member> members;
  for (const auto& row : rows) {
    members.push_back({NodeId(row.node()), row.host(), static_cast<uint16_t>(row.port())});
  }
  return members;
}

Status corrupt(std::string_view object, const char* what) {
  return Status(Code::kCorrupt, std::string("control file ") + what)
      .with_object(std::string(object))
      .with_hint(
          "restore this timeline's directory from another member, then restart the safekeeper");
}

// What every acceptor's state satisfies.
const char* contradiction(const AcceptorState& state) {
  if (!wal::valid_segment_size(state.server.segment_size)) return "has an impossible segment size";
  if (state.history.empty()) return "has no term history";
  if (state.history.last().term > state.term) return "has a history beyond its term";
  if (!state.timeline_start.valid()) return "does not know where its timeline begins";
  if (state.commit > state.flush) return "vouches for more commits than WAL";
  return nullptr;
}

}  // namespace

Bytes encode_control_file(const AcceptorState& state) {
  proto::SafekeeperControl control;
  control.set_node(state.node.value);
  proto::MembershipRow* membership = control.mutable_membership();
  membership->set_generation(static_cast<uint32_t>(state.membership.generation.value));
  put_members(state.membership.members, membership->mutable_members());
  put_members(state.membership.new_members, membership->mutable_new_members());
  control.set_postgres_version(state.server.postgres_version);
  control.set_system_id(state.server.system_id);
  control.set_segment_size(state.server.segment_size);
  control.set_term(state.term.value);
  for (const TermStart& entry : state.history.entries()) {
    proto::TermStartRow* row = control.add_history();
    row->set_term(entry.term.value);
    row->set_start(entry.start.value);
  }
  control.set_timeline_start(state.timeline_start.value);
  control.set_local_start(state.local_start.value);
  control.set_flush(state.flush.value);
  control.set_commit(state.commit.value);
  control.set_backup(state.backup.value);
  control.set_truncate(state.truncate.value);
  control.set_remote_consistent(state.remote_consistent.value);
  std::string payload;
  {
    google::protobuf::io::StringOutputStream stream(&payload);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    VARVE_CHECK(control.SerializeToCodedStream(&coded));
  }
  return seal(kType, state.id.tenant, state.id.timeline, as_bytes(payload));
}

Result<AcceptorState> decode_control_file(const Bytes& bytes, std::string_view object) {
  VARVE_TRY_ASSIGN(const Envelope envelope, open_envelope(kType, bytes, object));
  proto::SafekeeperControl control;
  if (!control.ParseFromArray(envelope.payload.data(), static_cast<int>(envelope.payload.size()))) {
    return corrupt(object, "does not parse");
  }
  AcceptorState state;
  state.id = {envelope.tenant, envelope.timeline};
  state.node = NodeId(control.node());
  state.membership.generation = Configuration(control.membership().generation());
  state.membership.members = get_members(control.membership().members());
  state.membership.new_members = get_members(control.membership().new_members());
  state.server = {control.postgres_version(), control.system_id(), control.segment_size()};
  state.term = Term(control.term());
  std::vector<TermStart> entries;
  for (const auto& row : control.history()) entries.push_back({Term(row.term()), Lsn(row.start())});
  if (!TermHistory::well_formed(entries)) return corrupt(object, "has a history out of order");
  state.history = TermHistory(std::move(entries));
  state.timeline_start = Lsn(control.timeline_start());
  state.local_start = Lsn(control.local_start());
  state.flush = Lsn(control.flush());
  state.commit = Lsn(control.commit());
  state.backup = Lsn(control.backup());
  state.truncate = Lsn(control.truncate());
  state.remote_consistent = Lsn(control.remote_consistent());
  if (const char* what = contradiction(state)) return corrupt(object, what);
  return state;
}

Result<AcceptorState> read_control_file(Disk& disk, const std::string& directory) {
  const std::string path = directory + "/control";
  VARVE_TRY_ASSIGN(const Bytes bytes, read_file(disk, path, kMaxControlFile));
  return decode_control_file(bytes, path);
}

Status write_control_file(Disk& disk, const std::string& directory, const AcceptorState& state) {
  return replace_file(disk, directory + "/control", encode_control_file(state));
}

}  // namespace varve::consensus
