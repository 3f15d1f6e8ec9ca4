#include "scenarios/safekeeper_node.h"

#include <memory>

namespace varve::scenarios {
namespace {

class AnyTokenOfOurs : public consensus::TokenCheck {
 public:
  Status check(std::string_view token, const TenantTimelineId&) override {
    if (token == kToken) return Status();
    return Status(Code::kRefused, "not a token of this simulation");
  }
};

// Creates what is wanted, again and again until it is there. Ends with an error of the wait only.
Status hold_timelines(consensus::TimelineRegistry& registry, const WantedTimelines& wanted) {
  for (size_t created = 0;;) {
    while (created < wanted.specs.size()) {
      const Status status = registry.create(wanted.specs[created]);
      if (status.is(Code::kCancelled)) return status;
      if (status.ok()) {
        ++created;
      } else {
        VARVE_TRY(sleep_for(Duration::millis(100)));
      }
    }
    if (wanted.complete) break;
    VARVE_TRY(sleep_for(Duration::millis(100)));
  }
  Event never;
  return never.wait("the end of this life");
}

Status life(World& world, const consensus::Member& self,
            const consensus::SafekeeperOptions& options, const WantedTimelines& wanted) {
  Scope scope("safekeeper");
  AnyTokenOfOurs tokens;
  consensus::TimelineRegistry registry(world, self.node, options, scope);
  consensus::SafekeeperServer server(world, registry, tokens, options, scope);
  Status status = registry.start();
  if (status.ok()) status = server.start(consensus::address_of(self));
  if (status.ok()) status = hold_timelines(registry, wanted);
  const Shield shield;
  server.stop();
  registry.stop();
  return status;
}

}  // namespace

NodeId add_safekeeper(sim::Simulation& simulation, const consensus::Member& self,
                      const consensus::SafekeeperOptions& options, const WantedTimelines& wanted) {
  const auto id = std::make_shared<NodeId>();
  *id = simulation.add_node(self.host, [&simulation, &options, &wanted, self, id](World& world) {
    if (life(world, self, options, wanted).is(Code::kCancelled)) return;
    // What a supervisor does: a process that ended is started again.
    simulation.at(Duration::millis(200), [&simulation, id] {
      if (!simulation.up(*id)) simulation.start(*id);
    });
  });
  return *id;
}

}  // namespace varve::scenarios
