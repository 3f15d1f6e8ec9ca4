#include "tests/programs/child_process.h"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace varve::programs {
namespace {

Program shell(const std::string& script) {
  return {.command = {"/bin/sh", "-c", script}};
}

TEST(ChildProcess, SaysHowItEnded) {
  auto child = ChildProcess::spawn(shell("exit 3"));
  ASSERT_TRUE(child.ok()) << child.status().to_string();
  EXPECT_EQ(child->wait(Duration::seconds(10)).value(), 3);
  EXPECT_FALSE(child->running());

  auto sleeper = ChildProcess::spawn(shell("sleep 100"));
  EXPECT_TRUE(sleeper->running());
  EXPECT_EQ(sleeper->wait(Duration::millis(20)).code(), Code::kDeadlineExceeded);
  sleeper->signal(SIGTERM);
  EXPECT_EQ(sleeper->wait(Duration::seconds(10)).value(), 128 + SIGTERM);

  auto missing = ChildProcess::spawn({.command = {"/nonexistent"}});
  EXPECT_EQ(missing->wait(Duration::seconds(10)).value(), 127);
}

TEST(ChildProcess, DiesWhenItIsDropped) {
  pid_t pid = 0;
  {
    auto child = ChildProcess::spawn(shell("exec sleep 100"));
    pid = child->pid();
    EXPECT_EQ(kill(pid, 0), 0);
    ChildProcess moved = std::move(*child);
    EXPECT_TRUE(moved.running());
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(Run, KeepsOutputAndErrorsApart) {
  auto result = run(shell("echo $WORD; echo wrong >&2; exit 4"), Duration::seconds(10));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->errors, "wrong\n");
  EXPECT_EQ(result->exit_code, 4);
  Program told = shell("echo $WORD; seq 1 100000");
  told.environment = {{"WORD", "first"}};
  auto output = output_of(told, Duration::seconds(10));
  ASSERT_TRUE(output.ok());
  EXPECT_TRUE(output->starts_with("first\n1\n"));
  EXPECT_TRUE(output->ends_with("\n100000\n"));
  const Status failed = output_of(shell("echo no >&2; false"), Duration::seconds(10)).status();
  EXPECT_NE(failed.to_string().find("exit code 1: no"), std::string::npos) << failed.to_string();
}

TEST(Run, EndsWhatTakesTooLong) {
  const Status late = run(shell("echo begun; exec sleep 100"), Duration::millis(200)).status();
  EXPECT_EQ(late.code(), Code::kDeadlineExceeded);
  EXPECT_NE(late.to_string().find("begun"), std::string::npos);
}

TEST(Run, AsPostgresUser) {
  Program who = shell("id -un");
  who.user = postgres_user();
  auto name = output_of(who, Duration::seconds(10));
  ASSERT_TRUE(name.ok()) << name.status().to_string();
  if (geteuid() == 0) {
    EXPECT_EQ(*name, "postgres\n");
  }
}

}  // namespace
}  // namespace varve::programs
