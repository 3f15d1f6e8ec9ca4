#include "control/control.h"

#include "control/proposer_elector.h"
#include "control/service.h"

namespace varve::control {

Status run_control(const ControlParts& parts, Listener& listener) {
  VARVE_TRY_ASSIGN(const std::unique_ptr<Ledger> ledger,
                   Ledger::open(parts.world, parts.store, parts.identity.incarnation));
  parts.world.log.info("control_ready", "the store is ours",
                       {{"version", ledger->state().version},
                        {"projects", ledger->state().projects.size()},
                        {"branches", ledger->state().branches.size()},
                        {"endpoints", ledger->state().endpoints.size()}});
  Scope connections("control's connections");
  Peers peers(parts.world, parts.fleet, parts.token, parts.identity, connections);
  ProposerElector proposer(parts.world, peers, connections);
  Elector& elector = parts.elector != nullptr ? *parts.elector : proposer;
  Settler settler(*ledger, peers, elector, parts.options);
  const Workshop workshop{parts.world,    *ledger,      peers,        settler,
                          parts.clusters, parts.signer, parts.options};
  Reconciler reconciler(workshop);
  Service service(workshop, reconciler);
  RpcServer server(parts.world.clock, parts.world.log, parts.world.metrics, parts.identity,
                   parts.verifier, parts.memory, parts.rpc);
  service.add_methods(server);
  Scope scope("control", Scope::OnError::kCancelOthers);
  scope.spawn("jobs", [&] { return reconciler.run(); });
  scope.spawn("rpc", [&] { return server.serve(listener); });
  const Status end = scope.join();
  return ledger->failed().ok() ? end : ledger->failed();
}

}  // namespace varve::control
