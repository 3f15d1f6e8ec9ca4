// One connection to the safekeeper's Postgres port.
#pragma once

#include <optional>
#include <string>

#include "consensus/safekeeper/server.h"
#include "wire/pg/command.h"

namespace varve::consensus {

class Session : public pg::ServerHandler {
 public:
  Session(World& world, TimelineRegistry& registry, TokenCheck& tokens,
          const SafekeeperOptions& options)
      : world_(world), registry_(registry), tokens_(tokens), options_(options) {}

  Status authenticate(const pg::Startup& startup, std::string_view password) override;
  pg::Parameters parameters(const pg::Startup& startup) override;
  Status query(pg::ServerConnection& connection, std::string_view sql) override;

 private:
  Status identify_system(pg::ServerConnection& connection);
  Status timeline_status(pg::ServerConnection& connection);
  Status show(pg::ServerConnection& connection, pg::TokenReader& tokens);
  Status push(pg::ServerConnection& connection, pg::TokenReader& tokens);
  Status replicate(pg::ServerConnection& connection, pg::TokenReader& tokens);
  Status check_slot(const std::string& slot) const;

  World& world_;
  TimelineRegistry& registry_;
  TokenCheck& tokens_;
  const SafekeeperOptions& options_;
  TenantTimelineId id_;
};

}  // namespace varve::consensus
