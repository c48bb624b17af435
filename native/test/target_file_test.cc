// All or nothing: whichever step fails, the target's name refers to the complete old file or the
// complete new one, and nothing else is left in the directory. Tested by failing each call of the
// publication in turn, by forcing every fallback, and by putting various objects in the place of
// the snapshot.
#include "publish/target_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "base/disabled_steps.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

using Names = std::vector<std::string>;
constexpr char kStaleName[] = ".stillframe-0123456789abcdef0123456789abcdef.tmp";

class Target : public ::testing::Test {
 protected:
  Result<TargetFile> Open(const TargetOptions& options = {}) {
    return TargetFile::Open(path_, options);
  }
  // Opens the target, writes `text` and publishes it.
  Status Save(const std::string& text, const TargetOptions& options = {}) {
    Result<TargetFile> target = Open(options);
    if (!target.ok()) return target.failure();
    return Fill(&target.value(), text);
  }
  static Status Fill(TargetFile* target, const std::string& text) {
    // Direct mode does not accept a text of any length.
    fcntl(target->fd(), F_SETFL, 0);
    WriteAt(target->fd(), text.data(), text.size(), 0);
    PublishTurn turn;
    return target->Publish(&turn);
  }
  static void Sweep(const TargetFile* target) {
    PublishTurn turn;
    target->SweepStale(&turn);
  }
  static std::string Text(const std::string& path) {
    const Bytes bytes = ReadAll(path);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  mode_t ModeOf(const std::string& path) {
    struct stat about {};
    EXPECT_EQ(stat(path.c_str(), &about), 0);
    return about.st_mode & 07777;
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_.File("snapshot");
  FaultScope faults_;
};

TEST_F(Target, IsPublishedUnderItsNameAndNothingElseIsLeft) {
  ASSERT_TRUE(Save("new").ok());
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
  EXPECT_EQ(Text(path_), "new");
}

TEST_F(Target, HasTheModeThatWasAskedForWhateverTheUmask) {
  for (const mode_t umask_now : {0U, 0777U}) {
    const mode_t before = umask(umask_now);
    EXPECT_TRUE(Save("a").ok());
    EXPECT_EQ(ModeOf(path_), 0600U);
    EXPECT_TRUE(Save("b", {.mode = 0644}).ok());
    EXPECT_EQ(ModeOf(path_), 0644U);
    umask(before);
    unlink(path_.c_str());
  }
}

TEST_F(Target, ReplacesAnOldFileWhole) {
  WriteFile(path_, "the old one, which is longer");
  const UniqueFd reader(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(Save("new").ok());
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
  EXPECT_EQ(Text(path_), "new");
  EXPECT_EQ(ReadAll(reader.get()).size(), 28U) << "who had the old file open has lost it";
}

TEST_F(Target, LeavesNothingWhenItIsNotPublished) {
  {
    Result<TargetFile> target = Open();
    ASSERT_TRUE(target.ok());
  }
  EXPECT_EQ(directory_.List(), Names{});
}

TEST_F(Target, DoesNotOverwriteUnlessAllowed) {
  WriteFile(path_, "old");
  Result<TargetFile> refused = Open({.overwrite = false});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.failure().code, FailureCode::kExists);

  // Also if the file is created while the capture runs.
  unlink(path_.c_str());
  Result<TargetFile> target = Open({.overwrite = false});
  ASSERT_TRUE(target.ok());
  WriteFile(path_, "somebody else's");
  Status published = Fill(&target.value(), "new");
  ASSERT_FALSE(published.ok());
  EXPECT_EQ(published.failure().code, FailureCode::kExists);
  EXPECT_EQ(Text(path_), "somebody else's");
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
}

TEST_F(Target, WhatComesAndGoesIsNotOverwrittenUnlessAllowed) {
  Result<TargetFile> target = Open({.overwrite = false});
  ASSERT_TRUE(target.ok());
  WriteFile(path_, "somebody else's");
  // As if the file had been missing at the moment of the check.
  FaultScope::Fail("fstatat", 1, ENOENT);
  EXPECT_EQ(Fill(&target.value(), "new").failure().code, FailureCode::kExists);
  EXPECT_EQ(Text(path_), "somebody else's");
}

TEST_F(Target, RefusesWhatIsNoRegularFile) {
  const auto expect_refusal = [&](int error_number) {
    Result<TargetFile> target = Open();
    ASSERT_FALSE(target.ok());
    EXPECT_EQ(target.failure().code, FailureCode::kIo);
    EXPECT_EQ(target.failure().error_number, error_number) << target.failure().message;
    EXPECT_EQ(directory_.List().size(), 1U);
    remove(path_.c_str());
  };
  ASSERT_EQ(symlink("/etc/hostname", path_.c_str()), 0);
  expect_refusal(ELOOP);
  ASSERT_EQ(symlink("nowhere", path_.c_str()), 0);
  expect_refusal(ELOOP);
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  expect_refusal(EISDIR);
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  expect_refusal(EEXIST);
}

TEST_F(Target, RefusesWhatIsNoRegularFileAlsoAtTheEnd) {
  Result<TargetFile> target = Open();
  ASSERT_TRUE(target.ok());
  ASSERT_EQ(symlink("/etc/hostname", path_.c_str()), 0);
  Status published = Fill(&target.value(), "new");
  ASSERT_FALSE(published.ok());
  EXPECT_EQ(published.failure().error_number, ELOOP);
  char link[64] = {};
  EXPECT_GT(readlink(path_.c_str(), link, sizeof link - 1), 0) << "the link was replaced";
  EXPECT_STREQ(link, "/etc/hostname");
}

TEST_F(Target, ADirectoryThatIsMissingOrNoneIsAnError) {
  for (const char* path : {"/nowhere-at-all/file", "/etc/hostname/file"}) {
    Result<TargetFile> target = TargetFile::Open(path, {});
    ASSERT_FALSE(target.ok());
    EXPECT_EQ(target.failure().code, FailureCode::kIo);
    EXPECT_STREQ(target.failure().syscall, "open");
  }
}

class MovedDirectory : public Target {
 protected:
  MovedDirectory() {
    EXPECT_EQ(mkdir(before_.c_str(), 0700), 0);
    EXPECT_EQ(mkdir(other_.c_str(), 0700), 0);
    EXPECT_EQ(symlink("before", link_.c_str()), 0);
  }
  // Publishes through the link while `change` happens, and expects a failure without any effect.
  void ExpectNothing(const std::function<void()>& change, const std::string& old_file_now) {
    const std::string old = old_file_now.empty() ? "" : "old";
    if (!old.empty()) WriteFile(before_ + "/snapshot", old);
    Result<TargetFile> target = TargetFile::Open(link_ + "/snapshot", {});
    ASSERT_TRUE(target.ok());
    change();
    Status published = Fill(&target.value(), "new");
    ASSERT_FALSE(published.ok());
    EXPECT_EQ(published.failure().error_number, ENOENT);
    EXPECT_NE(published.failure().message.find("does not stand under the path"), std::string::npos);
    if (!old.empty()) {
      EXPECT_EQ(Text(old_file_now), old);
    }
  }
  std::string before_ = directory_.File("before");
  std::string other_ = directory_.File("other");
  std::string link_ = directory_.File("link");
};

TEST_F(MovedDirectory, IsNoPlaceToPublishIn) {
  for (const bool replaced : {false, true}) {
    const auto change = [&] {
      ASSERT_EQ(rename(before_.c_str(), directory_.File("after").c_str()), 0);
      if (replaced) {
        ASSERT_EQ(mkdir(before_.c_str(), 0700), 0);
      }
    };
    ExpectNothing(change, directory_.File("after") + "/snapshot");
    EXPECT_EQ(unlink((directory_.File("after") + "/snapshot").c_str()), 0);
    EXPECT_EQ(rmdir(directory_.File("after").c_str()), 0) << "something was left in it";
    if (!replaced) {
      ASSERT_EQ(mkdir(before_.c_str(), 0700), 0);
    }
  }
}

TEST_F(MovedDirectory, ALinkOfThePathThatLeadsElsewhereIsNoticed) {
  const auto flip = [&] {
    ASSERT_EQ(unlink(link_.c_str()), 0);
    ASSERT_EQ(symlink("other", link_.c_str()), 0);
  };
  // Also if a file of this name exists there.
  WriteFile(other_ + "/snapshot", "older");
  ExpectNothing(flip, before_ + "/snapshot");
  EXPECT_EQ(Text(other_ + "/snapshot"), "older");
  ASSERT_EQ(unlink((before_ + "/snapshot").c_str()), 0);
  ASSERT_EQ(unlink(link_.c_str()), 0);
  ASSERT_EQ(symlink("before", link_.c_str()), 0);
  ExpectNothing(flip, "");
  EXPECT_EQ(rmdir(before_.c_str()), 0) << "a file was left that nobody knows of";
}

TEST_F(Target, EitherTheDirectoryOrTheFileUnderThePathMustBeTheOneThatItWas) {
  // File numbers are not stable on every filesystem. The calls of fstat, in order: for the length
  // of the data, for our file, and for the two directories.
  for (const uint32_t unknown : {2U, 3U, 4U}) {
    Result<TargetFile> target = Open();
    ASSERT_TRUE(target.ok());
    FaultScope::Fail("fstat", unknown, EIO);
    EXPECT_TRUE(Fill(&target.value(), "new").ok()) << unknown;
    sys::ClearFaults();
    EXPECT_EQ(Text(path_), "new");
  }
}

TEST_F(Target, IdentityIsThatOfDirectoryAndName) {
  const std::string same = directory_.path() + "/./snapshot";
  EXPECT_EQ(Open().value().identity(), TargetFile::Open(same, {}).value().identity());
  EXPECT_NE(Open().value().identity(),
            TargetFile::Open(directory_.File("other"), {}).value().identity());
}

// A call of Open or Publish that can fail: its name, and which of the calls of that name.
struct Step {
  const char* call;
  uint32_t nth;
};

TEST_F(Target, EveryFailureLeavesTheOldFileAndNothingElse) {
  // openat: the directory, the new file. fsync: the data, the directory.
  const Step steps[] = {{"openat", 1},  {"openat", 2}, {"fstat", 1},    {"fstatat", 1},
                        {"fchmod", 1},  {"fsync", 1},  {"fsync", 2},    {"linkat", 1},
                        {"fstatat", 2}, {"linkat", 2}, {"renameat2", 1}};
  for (const bool named : {false, true}) {
    for (const Step& step : steps) {
      for (const int error : {EIO, ENOSPC, EACCES, ENOMEM}) {
        WriteFile(path_, "old");
        sys::ClearFaults();
        // Named: as on a filesystem without O_TMPFILE, which takes one more openat.
        const bool fails_in_open = strcmp(step.call, "openat") == 0;
        if (named && fails_in_open) continue;
        if (named) FaultScope::Fail("openat", 2, EOPNOTSUPP);
        FaultScope::Fail(step.call, step.nth, error);
        Status saved = Save("new");
        const bool reached =
            sys::CallCount(sys::Call::kLinkat) >= 2 || strcmp(step.call, "linkat") != 0;
        sys::ClearFaults();
        SCOPED_TRACE(std::string(named ? "named, " : "nameless, ") + step.call + " " +
                     std::to_string(step.nth) + ": " + strerror(error));
        EXPECT_EQ(directory_.List(), Names{"snapshot"});
        if (named && !reached) continue;  // a file that has a name already is linked only once
        if (named && (strcmp(step.call, "linkat") == 0 || strcmp(step.call, "fstat") == 0))
          continue;
        // This error may mean that names cannot be exchanged. The fallback then succeeds.
        if (strcmp(step.call, "renameat2") == 0 && error == EIO) continue;
        ASSERT_FALSE(saved.ok());
        EXPECT_EQ(saved.failure().error_number, error);
        EXPECT_EQ(saved.failure().code, error == ENOSPC ? FailureCode::kNoSpace : FailureCode::kIo);
        EXPECT_EQ(Text(path_), "old");
      }
    }
  }
}

TEST_F(Target, EveryFailureOfAFirstSnapshotLeavesNothing) {
  const Step steps[] = {{"fchmod", 1}, {"fsync", 1}, {"fsync", 2}, {"linkat", 1}};
  for (const bool named : {false, true}) {
    for (const Step& step : steps) {
      if (named) FaultScope::Fail("openat", 2, EOPNOTSUPP);
      FaultScope::Fail(step.call, step.nth, EIO);
      Status saved = Save("new");
      sys::ClearFaults();
      // A file that already has a name gets its new one without a link.
      if (named && strcmp(step.call, "linkat") == 0) {
        EXPECT_TRUE(saved.ok());
        EXPECT_EQ(unlink(path_.c_str()), 0);
        continue;
      }
      EXPECT_FALSE(saved.ok()) << step.call;
      EXPECT_EQ(directory_.List(), Names{}) << step.call << " " << step.nth;
    }
  }
}

TEST_F(Target, AFailedSyncIsNotRetriedAndPublishesNothing) {
  WriteFile(path_, "old");
  FaultScope::Count("linkat");
  FaultScope::Fail("fsync", 1, EIO);
  Status saved = Save("new");
  ASSERT_FALSE(saved.ok());
  EXPECT_STREQ(saved.failure().syscall, "fsync");
  EXPECT_EQ(sys::CallCount(sys::Call::kFsync), 1U);
  EXPECT_EQ(sys::CallCount(sys::Call::kLinkat), 0U);
  EXPECT_EQ(Text(path_), "old");
}

TEST_F(Target, DataIsSyncedBeforeTheNameAndTheDirectoryAfterIt) {
  // linkat is not reached before the first fsync has succeeded, and is reached before the second.
  FaultScope::Count("linkat");
  FaultScope::Fail("fsync", 2, EIO);
  EXPECT_FALSE(Save("new").ok());
  EXPECT_EQ(sys::CallCount(sys::Call::kLinkat), 1U);
  EXPECT_EQ(sys::CallCount(sys::Call::kFsync), 2U);
  EXPECT_EQ(directory_.List(), Names{}) << "the name was not taken back";
}

TEST_F(Target, ADirectoryThatCannotBeSyncedNeedNotBe) {
  FaultScope::Fail("fsync", 2, EINVAL);
  EXPECT_TRUE(Save("new").ok());
  EXPECT_EQ(Text(path_), "new");
}

TEST_F(Target, WithoutDurableNothingIsSynced) {
  WriteFile(path_, "old");
  FaultScope::Count("fsync");
  ASSERT_TRUE(Save("new", {.durable = false}).ok());
  EXPECT_EQ(sys::CallCount(sys::Call::kFsync), 0U);
  EXPECT_EQ(Text(path_), "new");
}

TEST_F(Target, WorksWithoutNamelessFiles) {
  for (const int error : {EOPNOTSUPP, EISDIR, ENOENT, EINVAL}) {
    FaultScope::Fail("openat", 2, error);
    {
      Result<TargetFile> target = Open();
      ASSERT_TRUE(target.ok());
      EXPECT_EQ(directory_.List().size(), 1U) << "its temporary file";
      EXPECT_EQ(ModeOf(directory_.File(directory_.List()[0])), 0600U);
      EXPECT_TRUE(Fill(&target.value(), "new").ok());
    }
    sys::ClearFaults();
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
    EXPECT_EQ(Text(path_), "new");
    // Now over an old file, which contains "new".
    FaultScope::Fail("openat", 2, error);
    EXPECT_TRUE(Save("newer").ok());
    sys::ClearFaults();
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
    EXPECT_EQ(Text(path_), "newer");
    unlink(path_.c_str());
  }
}

TEST_F(Target, WorksWithoutHardLinks) {
  for (const int error : {EPERM, EOPNOTSUPP, EIO, ENOSYS, EINVAL, EMLINK}) {
    FaultScope::Fail("openat", 2, EOPNOTSUPP);
    FaultScope::Fail("linkat", 1, error, true);
    EXPECT_TRUE(Save("new").ok());
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
    FaultScope::Fail("openat", 2, EOPNOTSUPP);
    FaultScope::Fail("linkat", 1, error, true);
    EXPECT_TRUE(Save("newer").ok());
    sys::ClearFaults();
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
    EXPECT_EQ(Text(path_), "newer");
    // Nor does it overwrite in that case.
    FaultScope::Fail("openat", 2, EOPNOTSUPP);
    Result<TargetFile> target = TargetFile::Open(directory_.File("other"), {.overwrite = false});
    ASSERT_TRUE(target.ok());
    WriteFile(directory_.File("other"), "theirs");
    FaultScope::Fail("linkat", 1, error, true);
    EXPECT_EQ(Fill(&target.value(), "ours").failure().code, FailureCode::kExists);
    sys::ClearFaults();
    EXPECT_EQ(Text(directory_.File("other")), "theirs");
    unlink(path_.c_str());
    unlink(directory_.File("other").c_str());
  }
}

class WithoutLinks : public Target {
 protected:
  // With neither links nor a rename that does not replace.
  Result<TargetFile> Open(const TargetOptions& options) {
    FaultScope::Fail("openat", 2, EOPNOTSUPP);
    FaultScope::Fail("linkat", 1, EIO, true);
    FaultScope::Fail("renameat2", 1, EINVAL);
    Result<TargetFile> target = TargetFile::Open(path_, options);
    EXPECT_TRUE(target.ok());
    return target;
  }
};

TEST_F(WithoutLinks, AFileGetsItsNameByPlainRename) {
  for (const bool overwrite : {true, false}) {
    EXPECT_TRUE(Fill(&Open({.overwrite = overwrite}).value(), "new").ok());
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
    EXPECT_EQ(Text(path_), "new");
    unlink(path_.c_str());
  }
}

TEST_F(WithoutLinks, WhatAppearsMeanwhileIsReplacedOnlyWhenThatIsAllowed) {
  for (const bool overwrite : {true, false}) {
    {
      Result<TargetFile> target = Open({.overwrite = overwrite});
      WriteFile(path_, "theirs");
      Status published = Fill(&target.value(), "ours");
      EXPECT_EQ(published.ok(), overwrite);
      EXPECT_TRUE(overwrite || published.failure().code == FailureCode::kExists);
    }
    EXPECT_EQ(Text(path_), overwrite ? "ours" : "theirs");
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
    unlink(path_.c_str());
  }
}

TEST_F(WithoutLinks, AFailedRenameLeavesNoEmptyFile) {
  for (const bool overwrite : {true, false}) {
    {
      Result<TargetFile> target = Open({.overwrite = overwrite});
      FaultScope::Fail("renameat2", 1, EINVAL, true);
      EXPECT_FALSE(Fill(&target.value(), "new").ok());
    }
    EXPECT_EQ(directory_.List(), Names{});
  }
}

TEST_F(Target, WorksWithoutExchange) {
  for (const int error : {EINVAL, ENOSYS, EIO, EOPNOTSUPP}) {
    WriteFile(path_, "old");
    FaultScope::Fail("renameat2", 1, error);
    EXPECT_TRUE(Save("new").ok());
    sys::ClearFaults();
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
    EXPECT_EQ(Text(path_), "new");
  }
}

TEST_F(Target, WithoutExchangeTheOldFileIsPutBackByItsSecondName) {
  for (const bool links : {true, false}) {
    WriteFile(path_, "old");
    FaultScope::Fail("renameat2", 1, EINVAL);
    FaultScope::Fail("fsync", 2, EIO);
    // The link of the old file; the earlier ones are of the new file.
    if (!links) FaultScope::Fail("linkat", 3, EPERM);
    EXPECT_FALSE(Save("new").ok());
    sys::ClearFaults();
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
    // Without links the publication cannot be undone, but the file under the name is complete.
    EXPECT_EQ(Text(path_), links ? "old" : "new");
  }
}

TEST_F(Target, AFilesystemWithoutModesWillDoIfItsFilesAreAsPrivate) {
  for (const int error : {EPERM, ENOSYS, EOPNOTSUPP}) {
    FaultScope::Fail("fchmod", 1, error);
    EXPECT_TRUE(Save("new").ok()) << error;
    sys::ClearFaults();
    EXPECT_EQ(Text(path_), "new");
  }
}

TEST_F(Target, TheNameMayComeAndGoMeanwhile) {
  WriteFile(path_, "old");
  // The exchange finds nothing to exchange with.
  FaultScope::Fail("renameat2", 1, ENOENT);
  EXPECT_TRUE(Save("new").ok());
  sys::ClearFaults();
  EXPECT_EQ(Text(path_), "new");
  EXPECT_EQ(directory_.List(), Names{"snapshot"});

  // If this never ends, it gives up.
  FaultScope::Fail("renameat2", 1, ENOENT, true);
  Status saved = Save("newer");
  sys::ClearFaults();
  ASSERT_FALSE(saved.ok());
  EXPECT_EQ(saved.failure().error_number, EBUSY);
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
}

TEST_F(Target, GivesUpWhenNoTemporaryNameIsFree) {
  FaultScope::Fail("openat", 2, EOPNOTSUPP);
  ASSERT_TRUE(Open().ok());
  WriteFile(path_, "old");
  FaultScope::Fail("linkat", 1, EEXIST, true);
  Status saved = Save("new");
  sys::ClearFaults();
  ASSERT_FALSE(saved.ok());
  EXPECT_EQ(saved.failure().error_number, EEXIST);
  EXPECT_EQ(Text(path_), "old");
}

TEST_F(Target, AnotherTemporaryNameIsTakenWhenOneIsNotFree) {
  WriteFile(path_, "old");
  // The first linkat is for the target's own name, which is taken.
  FaultScope::Fail("linkat", 2, EEXIST);
  EXPECT_TRUE(Save("new").ok());
  EXPECT_EQ(sys::CallCount(sys::Call::kLinkat), 3U);
  EXPECT_EQ(Text(path_), "new");
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
}

TEST_F(Target, AFileIsLockedAgainstSweepsBeforeItHasAName) {
  Result<TargetFile> target = Open();
  ASSERT_TRUE(target.ok());
  const std::string path = "/proc/self/fd/" + std::to_string(target.value().fd());
  const UniqueFd sweeper(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(sweeper.valid());
  EXPECT_NE(flock(sweeper.get(), LOCK_EX | LOCK_NB), 0);
}

TEST_F(Target, ATemporaryFileThatWasSweptBeforeItWasLockedIsMadeAgain) {
  FaultScope::Fail("openat", 2, EOPNOTSUPP);
  // fstat of the new file: it no longer has a name.
  FaultScope::Fail("fstat", 2, sys::kAnswersNothing);
  Result<TargetFile> target = Open();
  EXPECT_EQ(sys::CallCount(sys::Call::kOpenat), 4U) << "it goes on with a file that has no name";
  sys::ClearFaults();
  ASSERT_TRUE(target.ok());
  EXPECT_TRUE(Fill(&target.value(), "new").ok());
  EXPECT_EQ(Text(path_), "new");
}

TEST_F(Target, TheOldFileIsNoStaleOneWhileItMayStillBePutBack) {
  WriteFile(path_, "old");
  {
    Result<TargetFile> target = Open();
    ASSERT_TRUE(target.ok());
    // Keeps the file under its temporary name.
    FaultScope::Fail("unlinkat", 1, EIO, true);
    EXPECT_TRUE(Fill(&target.value(), "new").ok());
    sys::ClearFaults();
    Result<TargetFile> other = TargetFile::Open(directory_.File("other"), {});
    Sweep(&other.value());
    EXPECT_EQ(directory_.List().size(), 2U) << "somebody else's sweep has taken it";
  }
  Result<TargetFile> next = Open();
  Sweep(&next.value());
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
}

TEST_F(Target, NothingIsPublishedOnceItHasBeenGivenUp) {
  WriteFile(path_, "old");
  Result<TargetFile> target = Open();
  ASSERT_TRUE(target.ok());
  FaultScope::Count("linkat");
  PublishTurn turn;
  EXPECT_TRUE(turn.GiveUp());
  Status published = target.value().Publish(&turn);
  ASSERT_FALSE(published.ok());
  EXPECT_EQ(published.failure().code, FailureCode::kAborted);
  EXPECT_EQ(sys::CallCount(sys::Call::kLinkat), 0U);
  EXPECT_EQ(Text(path_), "old");
}

TEST_F(Target, WhatHasBeenGivenUpIsNotBroughtToTheDiskPieceByPiece) {
  Result<TargetFile> target = Open();
  ASSERT_TRUE(target.ok());
  ASSERT_EQ(ftruncate(target.value().fd(), off_t{1} << 30), 0);
  FaultScope::Count("sync_file_range");
  PublishTurn turn;
  turn.GiveUp();
  EXPECT_FALSE(target.value().Publish(&turn).ok());
  EXPECT_EQ(sys::CallCount(sys::Call::kSyncFileRange), 0U);
}

TEST_F(Target, EitherItIsCompleteOrGivenUp) {
  PublishTurn complete;
  EXPECT_TRUE(complete.Complete());
  EXPECT_FALSE(complete.GiveUp());
  EXPECT_FALSE(complete.given_up());
  PublishTurn given_up;
  EXPECT_TRUE(given_up.GiveUp());
  EXPECT_FALSE(given_up.Complete());
}

// On NFS an exclusive lock requires a file that is open for writing; without it, files left by dead
// services would stay. Here inotify tells how a closed file had been opened.
TEST_F(Target, StaleFilesAreLockedAsFilesThatMayBeWritten) {
  WriteFile(directory_.File(kStaleName), "x");
  const UniqueFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ASSERT_GE(inotify_add_watch(watch.get(), directory_.File(kStaleName).c_str(), IN_CLOSE), 0);
  Result<TargetFile> target = Open();
  Sweep(&target.value());
  EXPECT_EQ(directory_.List(), Names{});
  inotify_event event{};
  ASSERT_EQ(read(watch.get(), &event, sizeof event), static_cast<ssize_t>(sizeof event));
  EXPECT_EQ(event.mask & IN_CLOSE, IN_CLOSE_WRITE);
}

TEST_F(Target, ASweepEndsWhenItIsGivenUp) {
  WriteFile(directory_.File(kStaleName), "x");
  Result<TargetFile> target = Open();
  PublishTurn turn;
  turn.GiveUp();
  target.value().SweepStale(&turn);
  EXPECT_EQ(directory_.List(), Names{kStaleName});
}

TEST_F(Target, WhatTheDiskSaysToAPieceIsAnErrorToo) {
  WriteFile(path_, "old");
  // fsync would not report this error again.
  FaultScope::Fail("sync_file_range", 1, EIO);
  FaultScope::Count("fsync");
  Status saved = Save("new");
  ASSERT_FALSE(saved.ok());
  EXPECT_STREQ(saved.failure().syscall, "sync_file_range");
  EXPECT_EQ(sys::CallCount(sys::Call::kFsync), 0U);
  EXPECT_EQ(Text(path_), "old");
  // Where this call does not exist, fsync alone does the work.
  for (const int error : {ENOSYS, EINVAL, EPERM}) {
    FaultScope::Fail("sync_file_range", 1, error);
    EXPECT_TRUE(Save("new").ok());
    sys::ClearFaults();
  }
}

TEST_F(Target, WithoutRandomNumbersThereIsNoTemporaryName) {
  FaultScope::Fail("openat", 2, EOPNOTSUPP);
  FaultScope::Fail("getrandom", 1, ENOSYS, true);
  Result<TargetFile> target = Open();
  ASSERT_FALSE(target.ok());
  EXPECT_STREQ(target.failure().syscall, "getrandom");
}

class Attributes : public Target {
 protected:
  // Sets flags as chattr does; false if the filesystem or the user's rights do not permit it.
  static bool Set(const std::string& path, int flags) {
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    return fd.valid() && ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) == 0;
  }
  void ExpectRefused(int error_number) {
    for (const bool check : {true, false}) {
      Status refused = check ? TargetFile::Check(path_, {}) : Status(Success{});
      Result<TargetFile> target = Open();
      if (!check && !target.ok()) refused = target.failure();
      ASSERT_FALSE(refused.ok());
      EXPECT_EQ(refused.failure().error_number, error_number);
    }
  }
};

TEST_F(Attributes, AFileThatCannotBeReplacedIsRefusedBeforeItIsWritten) {
  for (const int flags : {FS_IMMUTABLE_FL, FS_APPEND_FL}) {
    WriteFile(path_, "old");
    if (!Set(path_, flags)) GTEST_SKIP() << "attributes of files cannot be set here";
    ExpectRefused(EPERM);
    Set(path_, 0);
  }
}

TEST_F(Target, AnotherUsersFileInAStickyDirectoryIsRefusedBeforehand) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  WriteFile(path_, "old");
  ASSERT_EQ(chmod(directory_.path().c_str(), 01777), 0);
  EXPECT_TRUE(TargetFile::Check(path_, {}).ok());
  const auto as_another_user = [&] {
    if (seteuid(65534) != 0) _exit(2);
    Status refused = TargetFile::Check(path_, {});
    const bool new_name = TargetFile::Check(directory_.File("new"), {}).ok();
    _exit(!refused.ok() && refused.failure().error_number == EPERM && new_name ? 77 : 1);
  };
  EXPECT_EXIT(as_another_user(), ::testing::ExitedWithCode(77), "");
}

TEST_F(Attributes, NoTemporaryFileStaysInAnAppendOnlyDirectory) {
  if (!Set(directory_.path(), FS_APPEND_FL))
    GTEST_SKIP() << "attributes of files cannot be set here";
  // A new name can be created there, but only without a temporary one.
  EXPECT_TRUE(Save("new").ok());
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
  ExpectRefused(EPERM);
  FaultScope::Fail("openat", 2, EOPNOTSUPP);
  EXPECT_FALSE(TargetFile::Open(directory_.File("other"), {}).ok());
  sys::ClearFaults();
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
  // Nor if the file appears while the capture runs.
  Result<TargetFile> late = TargetFile::Open(directory_.File("late"), {});
  ASSERT_TRUE(late.ok());
  WriteFile(directory_.File("late"), "theirs");
  EXPECT_FALSE(Fill(&late.value(), "ours").ok());
  EXPECT_EQ(directory_.List(), (Names{"late", "snapshot"}));
  Set(directory_.path(), 0);
}

TEST_F(Target, SweepsTheFilesOfTheDeadAndNothingElse) {
  const auto touch = [&](const std::string& name) { WriteFile(directory_.File(name), "x"); };
  touch(kStaleName);
  const Names kept = {
      ".stillframe-.tmp",
      ".stillframe-0123456789ABCDEF0123456789abcdef.tmp",
      ".stillframe-0123456789abcdef0123456789abcde.tmp",
      ".stillframe-0123456789abcdef0123456789abcdef.tmp.bak",
      ".stillframe-0123456789abcdef0123456789abcdeg.tmp",
      "snapshot",
      "stillframe-0123456789abcdef0123456789abcdef.tmp",
  };
  for (const std::string& name : kept) touch(name);
  // These have such names but are not our files.
  const std::string prefix = ".stillframe-0123456789abcdef0123456789abcd";
  ASSERT_EQ(symlink("snapshot", directory_.File(prefix + "01.tmp").c_str()), 0);
  ASSERT_EQ(mkfifo(directory_.File(prefix + "02.tmp").c_str(), 0600), 0);
  ASSERT_EQ(mkdir(directory_.File(prefix + "03.tmp").c_str(), 0700), 0);
  // In use: locked.
  const std::string used = prefix + "04.tmp";
  touch(used);
  const UniqueFd user(open(directory_.File(used).c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(flock(user.get(), LOCK_EX), 0);
  // Owned by another user.
  const std::string foreign = prefix + "05.tmp";
  touch(foreign);
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(chown(directory_.File(foreign).c_str(), 65534, 65534), 0);
  }

  Result<TargetFile> target = Open();
  ASSERT_TRUE(target.ok());
  Sweep(&target.value());
  Names expected = kept;
  for (const char* number : {"01", "02", "03", "04"}) expected.push_back(prefix + number + ".tmp");
  if (root) expected.push_back(foreign);
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(directory_.List(), expected);
}

TEST_F(Target, DoesNotSweepItsOwnFileNorThatOfAnother) {
  FaultScope::Fail("openat", 2, EOPNOTSUPP);
  Result<TargetFile> first = Open();
  sys::ClearFaults();
  FaultScope::Fail("openat", 2, EOPNOTSUPP);
  Result<TargetFile> second = TargetFile::Open(directory_.File("second"), {});
  sys::ClearFaults();
  ASSERT_TRUE(first.ok() && second.ok());
  Sweep(&first.value());
  Sweep(&second.value());
  EXPECT_EQ(directory_.List().size(), 2U);
  EXPECT_TRUE(Fill(&first.value(), "first").ok());
  EXPECT_TRUE(Fill(&second.value(), "second").ok());
  EXPECT_EQ(directory_.List(), (Names{"second", "snapshot"}));
}

TEST_F(Target, SweepingMayFail) {
  WriteFile(directory_.File(kStaleName), "x");
  Result<TargetFile> target = Open();
  ASSERT_TRUE(target.ok());
  for (const char* call : {"openat", "fstat", "flock", "unlinkat"}) {
    FaultScope::Fail(call, 1, EACCES, true);
    Sweep(&target.value());
    sys::ClearFaults();
    EXPECT_EQ(directory_.List(), Names{kStaleName}) << call;
  }
  Sweep(&target.value());
  EXPECT_EQ(directory_.List(), Names{});
}

TEST_F(Target, AFileWhoseWriterWasKilledIsSweptByTheNext) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    sys::InjectFault("openat", 2, EOPNOTSUPP, false);
    Result<TargetFile> target = Open();
    raise(SIGKILL);
    _exit(target.ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(directory_.List().size(), 1U);
  Result<TargetFile> next = Open();
  Sweep(&next.value());
  EXPECT_EQ(directory_.List(), Names{});
}

TEST_F(Target, TheSwitchesForceTheFallbacks) {
  // The list is read once per process, so this needs a new process.
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  setenv("STILLFRAME_DISABLE", "exchange,o_tmpfile,o_direct", 1);
  const auto in_the_child = [&] {
    bool good = StepDisabled("exchange") && StepDisabled("o_direct") && !StepDisabled("clone3") &&
                !StepDisabled("o_tmp");
    FaultScope::Count("renameat2");
    WriteFile(path_, "old");
    Result<TargetFile> target = Open();
    good = good && target.ok() && directory_.List().size() == 2;
    good = good && (fcntl(target.value().fd(), F_GETFL) & O_DIRECT) == 0;
    PublishTurn turn;
    good = good && target.value().Publish(&turn).ok() && sys::CallCount(sys::Call::kRenameat2) == 1;
    good = good && directory_.List() == Names{"snapshot"};
    // The fixture's destructor does not run in the child.
    unlink(path_.c_str());
    rmdir(directory_.path().c_str());
    _exit(good ? 77 : 1);
  };
  EXPECT_EXIT(in_the_child(), ::testing::ExitedWithCode(77), "");
  unsetenv("STILLFRAME_DISABLE");
}

}  // namespace
}  // namespace stillframe::test
