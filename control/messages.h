// Control's state as proto/control.proto tells it. The messages themselves stay in .cc files.
#pragma once

#include <string>

#include "control/fleet.h"
#include "control/plan/state.h"
#include "control/plan/steps.h"

namespace varve::proto {
class Branch;
class Endpoint;
class Project;
class Status;
}  // namespace varve::proto

namespace varve::control {

void put_failure(const Failure& failure, proto::Status& message);
Failure get_failure(const proto::Status& message);

void put_project(const Project& project, proto::Project& message);
void put_branch(const Branch& branch, proto::Branch& message);
// `compute` is null when nothing is known of it.
void put_endpoint(const Endpoint& endpoint, const Compute* compute, const Fleet& fleet,
                  proto::Endpoint& message);

// Answers that are kept with their operation.
std::string project_response(const Project& project, const Branch& first);
std::string branch_response(const Branch& branch);
std::string created_endpoint_response(const Endpoint& endpoint, const Fleet& fleet);
std::string started_endpoint_response(const Endpoint& endpoint, const Compute* compute,
                                      const Fleet& fleet);

}  // namespace varve::control
