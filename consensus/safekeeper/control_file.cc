#include "consensus/safekeeper/control_file.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "base/envelope.h"
#include "consensus/client/rows.h"
#include "proto/safekeeper.pb.h"
#include "wal/page.h"

namespace varve::consensus {
namespace {

constexpr EnvelopeType kType{"safekeeper", 1, 1};
constexpr uint64_t kMaxControlFile = 16 << 20;

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
  put_membership(state.membership, *control.mutable_membership());
  control.set_postgres_version(state.server.postgres_version);
  control.set_system_id(state.server.system_id);
  control.set_segment_size(state.server.segment_size);
  control.set_term(state.term.value);
  put_history(state.history, *control.mutable_history());
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
  auto membership = get_membership(control.membership());
  if (!membership.ok()) return corrupt(object, "names a member's port that is none");
  state.membership = std::move(membership).value();
  state.server = {control.postgres_version(), control.system_id(), control.segment_size()};
  state.term = Term(control.term());
  auto history = get_history(control.history());
  if (!history.ok()) return corrupt(object, "has a history out of order");
  state.history = std::move(history).value();
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
