// What Varve costs when nothing has to be fetched: the same Postgres on its local disk.
#include "bench/arena.h"
#include "bench/pgbench.h"
#include "bench/row.h"

namespace varve::bench {
namespace {

Result<RowResult> measure(Arena& arena, const std::vector<std::string>& workload) {
  VARVE_TRY_ASSIGN(const std::string varve, arena.varve());
  VARVE_TRY_ASSIGN(const std::string peer, arena.local_peer());
  const auto side = [&](const std::string& target) -> Measure {
    return [&arena, &workload, target]() -> Result<double> {
      VARVE_TRY_ASSIGN(const PgbenchResult result,
                       run_pgbench({target, 8, arena.options().seconds, workload}));
      return result.transactions_per_second;
    };
  };
  VARVE_TRY_ASSIGN(Pairs pairs, measure_pairs(side(varve), side(peer), arena.options().rounds));
  return RowResult{std::move(pairs.value), std::move(pairs.peer)};
}

constexpr char kPeer[] = "the same Postgres on its local disk";

}  // namespace

std::vector<Row> warm_rows() {
  return {
      {"select_warm", "tx/s", kPeer, true, "pgbench -S by 8 clients, all pages local",
       [](Arena& arena) { return measure(arena, {"-S"}); }},
      {"tpcb_warm", "tx/s", kPeer, true, "pgbench by 8 clients against a local fdatasync",
       [](Arena& arena) { return measure(arena, {}); }},
  };
}

}  // namespace varve::bench
