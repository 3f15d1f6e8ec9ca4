#include "storage/client/page_client.h"

#include <algorithm>
#include <cstring>

#include "base/codec.h"
#include "base/crc32c.h"
#include "proto/pageserver.pb.h"
#include "storage/client/methods.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::storage {
namespace {

constexpr uint8_t kStatusPage = 0x10;  // the kind of a key; 0 is a relation's page
constexpr size_t kBlockOffset = 14;    // of the block's number in a relation's page key
constexpr size_t kPageOffset = 5;      // of the page's number in a status page's key

// The key of the page `ahead` pages behind `first`.
std::array<uint8_t, 18> following(std::array<uint8_t, 18> first, uint32_t ahead) {
  uint8_t* at = first.data() + (first[0] == 0 ? kBlockOffset : kPageOffset);
  store_be(at, load_be<uint32_t>(at) + ahead);
  return first;
}

Status wrong(const char* what) {
  return Status(Code::kCorrupt, std::string("the pageserver's answer ") + what);
}

// Adds what was answered for one page, be it an error of that page. An error of this function says
// that the answer as a whole can't be trusted, and nothing of the page.
Status take_answer(const proto::PageAnswer& answer, const std::array<uint8_t, 18>& expected,
                   std::vector<Bytes>& attachments, size_t& next,
                   std::vector<Result<FetchedPage>>& pages) {
  if (answer.has_error()) {
    std::string bytes;
    VARVE_CHECK(answer.error().SerializeToString(&bytes));
    Status error = rpc::parse_status(Bytes::copy(bytes));
    if (error.ok()) return wrong("has an error that is none");
    pages.emplace_back(std::move(error));
    return Status();
  }
  if (answer.key().size() != expected.size() ||
      std::memcmp(answer.key().data(), expected.data(), expected.size()) != 0) {
    return wrong("is about another page");
  }
  FetchedPage page{expected, Lsn(answer.lsn()), answer.beyond_end(), {}, answer.crc32c()};
  if (page.beyond_end) {
    pages.emplace_back(std::move(page));
    return Status();
  }
  if (next == attachments.size()) return wrong("lacks a page");
  page.page = std::move(attachments[next++]);
  if (page.page.size() != kBlockSize || crc32c(page.page) != answer.crc32c()) {
    return wrong("has a page whose checksum does not match");
  }
  pages.emplace_back(std::move(page));
  return Status();
}

}  // namespace

std::array<uint8_t, 18> relation_page_key(uint32_t tablespace, uint32_t database, uint32_t relation,
                                          uint8_t fork, uint32_t block) {
  std::array<uint8_t, 18> key{};
  store_be(key.data() + 1, tablespace);
  store_be(key.data() + 5, database);
  store_be(key.data() + 9, relation);
  key[13] = fork;
  store_be(key.data() + kBlockOffset, block);
  return key;
}

std::array<uint8_t, 18> status_page_key(uint32_t file, uint32_t page) {
  std::array<uint8_t, 18> key{};
  key[0] = kStatusPage;
  store_be(key.data() + 1, file);
  store_be(key.data() + kPageOffset, page);
  return key;
}

Result<std::vector<Result<FetchedPage>>> get_pages(RpcClient& client, const TenantShardId& shard,
                                                   const TimelineId& timeline,
                                                   const std::vector<PageRunRequest>& runs,
                                                   Term writer) {
  proto::GetPagesRequest request;
  request.mutable_shard()->set_tenant(shard.tenant.bytes.data(), shard.tenant.bytes.size());
  request.mutable_shard()->set_number(shard.number);
  request.mutable_shard()->set_count(shard.count);
  request.set_timeline(timeline.bytes.data(), timeline.bytes.size());
  request.set_term(writer.value);
  std::vector<std::array<uint8_t, 18>> keys;
  for (const PageRunRequest& run : runs) {
    VARVE_CHECK(run.not_modified_since <= run.request_lsn);
    proto::PageRun* field = request.add_runs();
    field->set_key(run.key.data(), run.key.size());
    field->set_count(run.count);
    field->set_request_lsn(run.request_lsn.value);
    field->set_not_modified_since(run.not_modified_since.value);
    for (uint32_t i = 0; i < run.count; ++i) keys.push_back(following(run.key, i));
  }
  VARVE_TRY_ASSIGN(auto response,
                   call_with_attachments<proto::GetPagesResponse>(client, kGetPages, request));
  if (static_cast<size_t>(response.message.pages_size()) != keys.size()) {
    return wrong("has another number of pages");
  }
  std::vector<Result<FetchedPage>> pages;
  size_t next = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    VARVE_TRY(take_answer(response.message.pages(static_cast<int>(i)), keys[i],
                          response.attachments, next, pages));
  }
  return pages;
}

}  // namespace varve::storage
