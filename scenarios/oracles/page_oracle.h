// What a pageserver may answer, against the naive cluster that keeps a copy of every page at every
// LSN (storage/testing/model_cluster.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/client/page_client.h"
#include "storage/testing/model_cluster.h"

namespace varve::scenarios {

struct PageQuestion {
  wal::RelationId relation;  // main fork
  uint32_t first = 0;
  uint32_t count = 1;
  bool status_file = false;  // instead of a relation: pg_xact from page `first` on
  Lsn request;
  Lsn not_modified_since;

  storage::PageRunRequest run() const;
};

struct PageVerdict {
  // What the answer contradicts; nothing when it is right, or says only that it can't be had now.
  std::optional<std::string> contradiction;
  uint32_t compared = 0;  // pages whose bytes were compared and equal
  bool complete = false;  // nothing has to be asked again
};

// Judges the answer to one question. `model` is the log's whole future as well, so a page served
// at an LSN that ingest can't have reached shows as other bytes.
PageVerdict judge_pages(const storage::testing::ModelCluster& model, const PageQuestion& question,
                        const std::vector<Result<storage::FetchedPage>>& pages);

}  // namespace varve::scenarios
