#include "storage/client/import_client.h"

#include "proto/pageserver.pb.h"
#include "storage/client/message.h"
#include "storage/client/methods.h"
#include "wire/rpc_proto.h"

namespace varve::storage {
namespace {

Status send_files(FileSource& source, RpcClientStream& stream) {
  for (;;) {
    VARVE_TRY_ASSIGN(std::optional<FilePiece> piece, source.next());
    if (!piece) return stream.close_send();
    VARVE_CHECK(piece->bytes.size() <= kStreamPieceBytes);
    proto::ImportFile file;
    file.set_path(piece->path);
    file.set_offset(piece->offset);
    VARVE_TRY(stream.send(RpcPayload(serialize_proto(file), {std::move(piece->bytes)})));
  }
}

}  // namespace

Result<ImportedTimeline> import_timeline(RpcClient& client, const TenantShardId& shard,
                                         Generation generation, const TimelineId& timeline,
                                         FileSource& source) {
  proto::ImportTimelineRequest request;
  name_timeline(request, shard, timeline);
  request.set_generation(generation.value);
  VARVE_TRY_ASSIGN(const std::unique_ptr<RpcClientStream> stream,
                   client.open_stream(kImportTimeline, RpcPayload(serialize_proto(request))));
  VARVE_TRY(send_files(source, *stream));
  std::optional<ImportedTimeline> imported;
  std::vector<uint8_t> prefix;
  for (;;) {
    VARVE_TRY_ASSIGN(const std::optional<RpcPayload> item, stream->receive());
    if (!item) break;
    proto::ImportTimelineResponse response;
    VARVE_TRY(parse_proto(item->head, kImportTimeline.name, response));
    imported.emplace();
    imported->lsn = Lsn(response.lsn());
    imported->last_record_start = Lsn(response.last_record_start());
    imported->postgres_major = static_cast<uint16_t>(response.postgres_major());
    imported->system_id = response.system_id();
    imported->segment_size = response.segment_size();
    for (const Bytes& piece : item->attachments) {
      prefix.insert(prefix.end(), piece.data(), piece.data() + piece.size());
    }
  }
  if (!imported) return wrong_answer(client, "to an import is empty");
  if (imported->segment_size == 0 ||
      prefix.size() != imported->lsn.value % imported->segment_size) {
    return wrong_answer(client, "lacks a part of the log");
  }
  imported->log_prefix = Bytes::copy(prefix);
  return std::move(*imported);
}

}  // namespace varve::storage
