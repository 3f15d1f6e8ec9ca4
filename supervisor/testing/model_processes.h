// A machine whose processes are nodes of the simulation: each answers our RPC's hello as the
// arguments of its command say, and behaves as the test wants it to.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/budget.h"
#include "runtime/process.h"
#include "runtime/world.h"
#include "sim/world.h"
#include "wire/rpc_server.h"
#include "wire/token.h"

namespace varve::supervisor::testing {

// How lives of one process go. May be changed between lives.
struct Behaviour {
  int fails = 0;      // so many lives end at once, with exit code 3
  bool ends = false;  // the life ends by itself, with exit code 0, after `ends_after`
  Duration ends_after = Duration::millis(50);
  Duration listens_after;  // from the life's begin
  Duration stop_takes;     // from the stop signal to the end
  bool ignores_stop = false;
  uint64_t lies = 0;  // so many hellos tell another incarnation
};

// One life, for oracles. In global time of the simulation.
struct ModelLife {
  std::string name;
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;
  uint64_t incarnation = 0;
  Duration begun;
  Duration ended = Duration::max();  // while it lives
};

class ModelMachine {
 public:
  explicit ModelMachine(sim::Simulation& sim) : sim_(sim) {}

  // Of the process called `name`; it listens on port 7000 of the host of that name.
  Behaviour& behaviour(const std::string& name) { return processes_[name].behaviour; }
  // A host for one life of the supervisor.
  std::unique_ptr<ProcessHost> open(World& world);
  // What the kernel does to a supervisor's children when it dies.
  void kill_all();
  // kill -9; no effect when it doesn't live.
  void kill(const std::string& name);
  bool alive(const std::string& name) const;
  const std::vector<ModelLife>& lives() const { return lives_; }
  // The last life of that name.
  const ModelLife* last(const std::string& name) const;
  sim::Simulation& simulation() { return sim_; }

 private:
  friend class ModelProcess;
  friend class ModelHost;
  struct Model {
    NodeId node;
    Behaviour behaviour;
    bool stop_asked = false;
    int exit_code = 0;
    size_t life = 0;  // in lives_
  };
  void run(Model& model, World& world);
  Status serve(Model& model, World& world);
  size_t begin(const ProcessCommand& command);
  void note_end(Model& model);

  sim::Simulation& sim_;
  std::map<std::string, Model> processes_;
  std::vector<ModelLife> lives_;
};

// Tokens of the model machine: one key, as a data directory has it.
inline std::string model_token(TokenScope scope);
inline const TokenVerifier& model_verifier();

inline constexpr Duration kLook = Duration::millis(1);

inline std::string argument_after(const std::vector<std::string>& arguments,
                                  const std::string& flag) {
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == flag) return arguments[i + 1];
  }
  return "";
}

inline uint64_t number_after(const std::vector<std::string>& arguments, const std::string& flag) {
  return std::strtoull(argument_after(arguments, flag).c_str(), nullptr, 10);
}

class ModelProcess final : public Process {
 public:
  ModelProcess(ModelMachine& machine, std::string name, size_t life)
      : machine_(machine), name_(std::move(name)), life_(life) {}
  ~ModelProcess() override {
    if (lives()) machine_.kill(name_);
  }

  int64_t pid() const override { return static_cast<int64_t>(life_) + 1000; }

  Status signal(ProcessSignal signal) override {
    if (!lives()) return Status(Code::kNotFound, "the process has ended").with_object(name_);
    switch (signal) {
      case ProcessSignal::kKill:
        machine_.kill(name_);
        return Status();
      case ProcessSignal::kStop:
        machine_.processes_[name_].stop_asked = true;
        return Status();
      case ProcessSignal::kPause:
      case ProcessSignal::kContinue:
        return Status();
    }
    VARVE_UNREACHABLE("no such signal");
  }

  Result<int> wait() override {
    while (lives()) VARVE_TRY(sleep_for(kLook));
    return machine_.processes_[name_].exit_code;
  }

 private:
  bool lives() const { return machine_.lives_[life_].ended == Duration::max(); }

  ModelMachine& machine_;
  std::string name_;
  size_t life_;
};

class ModelHost final : public ProcessHost {
 public:
  explicit ModelHost(ModelMachine& machine) : machine_(machine) {}
  Result<std::unique_ptr<Process>> spawn(const ProcessCommand& command) override {
    if (command.arguments.empty() || command.arguments[0] != "/model/varve") {
      return Status(Code::kNotFound, "no such executable").with_object(command.name);
    }
    const size_t life = machine_.begin(command);
    return std::unique_ptr<Process>(std::make_unique<ModelProcess>(machine_, command.name, life));
  }

 private:
  ModelMachine& machine_;
};

inline std::unique_ptr<ProcessHost> ModelMachine::open(World&) {
  return std::make_unique<ModelHost>(*this);
}

inline size_t ModelMachine::begin(const ProcessCommand& command) {
  Model& model = processes_[command.name];
  if (model.node.value == 0) {
    model.node = sim_.add_node(command.name, [this, &model](World& world) { run(model, world); });
    // Its lives are the supervisor's to begin.
    sim_.protect(model.node);
  }
  VARVE_CHECK_MSG(!sim_.up(model.node), "a process of this name lives already");
  model.stop_asked = false;
  model.exit_code = 0;
  model.life = lives_.size();
  lives_.push_back({command.name, command.arguments, command.environment,
                    number_after(command.arguments, "--incarnation"), sim_.elapsed(),
                    Duration::max()});
  sim_.start(model.node);
  return model.life;
}

inline void ModelMachine::note_end(Model& model) {
  ModelLife& life = lives_[model.life];
  if (life.ended == Duration::max()) life.ended = sim_.elapsed();
}

inline void ModelMachine::run(Model& model, World& world) {
  const Behaviour behaviour = model.behaviour;
  if (model.behaviour.fails > 0) {
    --model.behaviour.fails;
    model.exit_code = 3;
    note_end(model);
    return;
  }
  Scope serving("model process");
  serving.spawn("serve", [&]() -> Status {
    VARVE_TRY(sleep_for(behaviour.listens_after));
    return serve(model, world);
  });
  const Instant begun = now();
  while (true) {
    if (model.stop_asked && !behaviour.ignores_stop) {
      sleep_for(behaviour.stop_takes).ignore("nobody cancels it");
      break;
    }
    if (behaviour.ends && now() - begun >= behaviour.ends_after) break;
    if (!sleep_for(kLook).ok()) break;
  }
  serving.cancel();
  serving.join().ignore("it was cancelled");
  note_end(model);
}

inline Status ModelMachine::serve(Model& model, World& world) {
  const ModelLife life = lives_[model.life];
  VARVE_TRY_ASSIGN(const std::unique_ptr<Listener> listener,
                   world.network.listen(Address{life.name, 7000}));
  Budget memory("model process", 16 << 20);
  RpcIdentity identity{NodeId(number_after(life.arguments, "--node")),
                       Incarnation(life.incarnation), life.name};
  while (model.behaviour.lies > 0) {
    --model.behaviour.lies;
    RpcIdentity other = identity;
    other.incarnation = Incarnation(life.incarnation ^ 1);
    RpcServer liar(world.clock, world.log, world.metrics, other, model_verifier(), memory);
    const DeadlineGuard a_while(Duration::millis(100));
    const Status lied = liar.serve(*listener);
    if (!lied.is(Code::kDeadlineExceeded)) return lied;
  }
  RpcServer server(world.clock, world.log, world.metrics, identity, model_verifier(), memory);
  return server.serve(*listener);
}

inline void ModelMachine::kill(const std::string& name) {
  const auto found = processes_.find(name);
  if (found == processes_.end() || found->second.node.value == 0) return;
  Model& model = found->second;
  if (lives_.empty() || lives_[model.life].ended != Duration::max()) return;
  model.exit_code = 128 + 9;
  // Not a crash of the node, which the simulation would start again when it heals.
  sim_.stop(model.node);
}

inline void ModelMachine::kill_all() {
  for (auto& [name, model] : processes_) kill(name);
}

inline bool ModelMachine::alive(const std::string& name) const {
  const ModelLife* life = last(name);
  return life != nullptr && life->ended == Duration::max();
}

inline const ModelLife* ModelMachine::last(const std::string& name) const {
  for (size_t i = lives_.size(); i > 0; --i) {
    if (lives_[i - 1].name == name) return &lives_[i - 1];
  }
  return nullptr;
}

inline std::string model_token(TokenScope scope) {
  TokenClaims claims;
  claims.scope = scope;
  claims.issued_to = "model";
  return TokenSigner::from_seed({5}).sign(claims);
}

inline const TokenVerifier& model_verifier() {
  static const TokenVerifier verifier({TokenSigner::from_seed({5}).public_key()});
  return verifier;
}

}  // namespace varve::supervisor::testing
