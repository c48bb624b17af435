// Runs a body in a child process, which reports the condition that does not hold.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#define EXPECT_IN_CHILD(body) EXPECT_EXIT(body(), ::testing::ExitedWithCode(0), "")
#define DEMAND(what)                                 \
  do {                                               \
    if (!(what)) {                                   \
      fprintf(stderr, "does not hold: " #what "\n"); \
      _exit(1);                                      \
    }                                                \
  } while (false)
