// How fast a commit is that two of three machines hold.
#include <filesystem>
#include <fstream>

#include "bench/arena.h"
#include "bench/pgbench.h"
#include "bench/row.h"

namespace varve::bench {
namespace {

enum class Figure { kRate, kLatency };

Result<RowResult> measure(Arena& arena, const std::vector<std::string>& workload, int clients,
                          Figure figure) {
  VARVE_TRY_ASSIGN(const std::string varve, arena.varve());
  VARVE_TRY_ASSIGN(const std::string peer, arena.replicated_peer());
  const auto side = [&](const std::string& target) -> Measure {
    return [&arena, &workload, target, clients, figure]() -> Result<double> {
      // What the last run left to be written is not this one's.
      VARVE_TRY(execute(target, "checkpoint"));
      VARVE_TRY_ASSIGN(const PgbenchResult result,
                       run_pgbench({target, clients, arena.options().seconds, workload}));
      return figure == Figure::kRate ? result.transactions_per_second : result.latency_ms;
    };
  };
  VARVE_TRY_ASSIGN(Pairs pairs, measure_pairs(side(varve), side(peer), arena.options().rounds));
  return RowResult{std::move(pairs.value), std::move(pairs.peer)};
}

Result<RowResult> measure_insert(Arena& arena, int clients, Figure figure) {
  const std::string script = arena.options().scratch + "/insert.sql";
  std::ofstream(script) << "insert into bench_insert (content) values (repeat('x', 100));\n";
  return measure(arena, {"-f", script}, clients, figure);
}

constexpr char kPeer[] = "pg_receivewal ANY 2 of 3";

}  // namespace

std::vector<Row> commit_rows() {
  return {
      {"commit_insert_c1", "ms", kPeer, false, "latency of one client's single-row inserts",
       [](Arena& arena) { return measure_insert(arena, 1, Figure::kLatency); }},
      {"commit_insert_c16", "tx/s", kPeer, true, "single-row inserts by 16 clients",
       [](Arena& arena) { return measure_insert(arena, 16, Figure::kRate); }},
      {"commit_n_c1", "ms", kPeer, false, "latency of one client's pgbench -N",
       [](Arena& arena) { return measure(arena, {"-N"}, 1, Figure::kLatency); }},
      {"commit_n_c16", "tx/s", kPeer, true, "pgbench -N by 16 clients",
       [](Arena& arena) { return measure(arena, {"-N"}, 16, Figure::kRate); }},
  };
}

}  // namespace varve::bench
