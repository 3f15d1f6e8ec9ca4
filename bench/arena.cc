#include "bench/arena.h"

#include "bench/pgbench.h"
#include "tests/checker/connection.h"

namespace varve::bench {

Arena::Arena(ArenaOptions options) : options_(std::move(options)) {}
Arena::~Arena() = default;

void Arena::say(const std::string& line) const {
  if (options_.progress) options_.progress(line);
}

Result<std::string> Arena::varve() {
  if (!varve_.empty()) return varve_;
  if (options_.varve.empty())
    return Status(Code::kInvalid, "no server is given").with_hint("--varve CONNECTION-STRING");
  VARVE_TRY(prepare(options_.varve));
  varve_ = options_.varve;
  return varve_;
}

Result<std::string> Arena::replicated_peer() {
  return peer("replicated", true);
}
Result<std::string> Arena::local_peer() {
  return peer("local", false);
}

Result<std::string> Arena::peer(const std::string& name, bool replicated) {
  std::unique_ptr<Stock>& stock = peers_[name];
  if (stock == nullptr) {
    VARVE_TRY_ASSIGN(const std::string model, varve());
    StockOptions options{
        .directory = options_.scratch + "/" + name, .settings = {}, .replicated = replicated};
    VARVE_TRY_ASSIGN(options.settings, comparable_settings(model));
    say("starting the peer '" + name + "'");
    VARVE_TRY_ASSIGN(stock, Stock::start(options));
    VARVE_TRY(prepare(stock->target()));
    VARVE_TRY(stock->warm_log());
  }
  return stock->target();
}

Status Arena::prepare(const std::string& target) {
  say("loading pgbench's tables, scale " + std::to_string(options_.scale));
  VARVE_TRY(load_pgbench(target, options_.scale));
  VARVE_TRY(execute(target, "create table bench_insert (id bigserial primary key, content text)"));
  VARVE_TRY(execute(target, "create extension if not exists pg_prewarm"));
  VARVE_TRY(execute(target, "checkpoint"));
  return execute(target,
                 "select pg_prewarm(c.oid) from pg_class c where relname like 'pgbench%' and "
                 "relkind in ('r', 'i')");
}

Status execute(const std::string& target, const std::string& statement) {
  VARVE_TRY_ASSIGN(checker::Connection session, checker::Connection::open(target));
  return session.run(statement, {}, Duration::seconds(600)).status();
}

}  // namespace varve::bench
