// Asks a pageserver for pages, and trusts no answer that does not prove itself: each must echo the
// key and carry the checksum of its bytes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "wire/rpc_client.h"

namespace varve::storage {

// The keys of pages (storage/key.h has the theory).
std::array<uint8_t, 18> relation_page_key(uint32_t tablespace, uint32_t database, uint32_t relation,
                                          uint8_t fork, uint32_t block);
std::array<uint8_t, 18> status_page_key(uint32_t file, uint32_t page);

struct PageRunRequest {
  std::array<uint8_t, 18> key{};  // of the first page (storage/key.h)
  uint32_t count = 1;
  Lsn request_lsn;
  Lsn not_modified_since;  // <= request_lsn
};

struct FetchedPage {
  std::array<uint8_t, 18> key{};
  Lsn lsn;                  // as of which it was rebuilt
  bool beyond_end = false;  // the fork is shorter there: `page` is empty
  Bytes page;               // kBlockSize bytes
  uint32_t crc = 0;         // CRC-32C of `page`, made by the pageserver; it has been checked
};

// The pages of `runs` in order, each by itself a page or an error. Suspends until the pageserver
// has ingested what is asked for. `writer`: the term that the asker has won and writes in; none for
// who only reads. The outer error is the call's. kCorrupt when an answer is not what was asked for;
// kStale when somebody has asked who writes in a newer term.
Result<std::vector<Result<FetchedPage>>> get_pages(RpcClient& client, const TenantShardId& shard,
                                                   const TimelineId& timeline,
                                                   const std::vector<PageRunRequest>& runs,
                                                   Term writer = {});

}  // namespace varve::storage
