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
  std::string target = options_.varve;
  if (target.empty()) {
    VARVE_TRY_ASSIGN(product::Cluster* const running, cluster());
    VARVE_TRY_ASSIGN(target, running->endpoint("main"));
  }
  VARVE_TRY(prepare(target));
  varve_ = target;
  return varve_;
}

Result<product::Cluster*> Arena::cluster() {
  if (cluster_ == nullptr) {
    if (!options_.varve.empty())
      return Status(Code::kUnsupported, "this row needs a Varve of its own, not --varve");
    say("starting Varve");
    VARVE_TRY_ASSIGN(cluster_, product::Cluster::start({.executable = options_.executable,
                                                        .directory = options_.scratch + "/varve"}));
  }
  return cluster_.get();
}

Result<std::string> Arena::project(const SizedProject& sized) {
  VARVE_TRY_ASSIGN(product::Cluster* const running, cluster());
  std::string target;
  VARVE_TRY(running->control([&](tool::ControlClient& client) -> Status {
    VARVE_TRY(client.ensure_project(sized.name).status());
    VARVE_TRY_ASSIGN(const tool::EndpointInfo endpoint, client.ensure_running(sized.name, "main"));
    target = endpoint.connection_string;
    return Status();
  }));
  if (!loaded_.contains(sized.name)) {
    say(std::string("loading project '") + sized.name + "', scale " + std::to_string(sized.scale));
    VARVE_TRY(load_pgbench(target, sized.scale));
    VARVE_TRY(execute(target, "checkpoint"));
    loaded_.insert(sized.name);
  }
  return target;
}

Status Arena::stop_project(const SizedProject& sized) {
  VARVE_TRY_ASSIGN(product::Cluster* const running, cluster());
  return running->control(
      [&](tool::ControlClient& client) { return client.stop_endpoint(sized.name, "main", false); });
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
