// Cost of the pieces of a snapshot on this machine, each next to its lower bound: the speed of the
// memory for work on bytes, the bare system call for everything else.
//
//   pieces BYTES DIRECTORY
//
// Prints one JSON object per line: {"what": …, "unit": "GB/s" | "us", "value": …}. The program is
// linked with the objects of the addon, so it measures the code that the addon runs. Every value is
// the median of several rounds.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "image/block_codec.h"
#include "image/format.h"
#include "image/page_copy.h"
#include "image/page_presence.h"
#include "image/page_sums.h"

using namespace stillframe;

namespace {

constexpr int kRounds = 5;
constexpr uint64_t kPiece = uint64_t{2} << 20;  // as much as a saver copies at once
constexpr int kLevel = 1;

volatile uint64_t g_kept;  // so that no work is optimized away

double Seconds() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

double Median(const std::function<double()>& measure) {
  std::vector<double> values;
  for (int round = 0; round < kRounds; round++) values.push_back(measure());
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double SecondsOf(const std::function<void()>& work) {
  const double started = Seconds();
  work();
  return Seconds() - started;
}

void Print(const char* what, const char* unit, double value) {
  printf("{\"what\": \"%s\", \"unit\": \"%s\", \"value\": %.6g}\n", what, unit, value);
  fflush(stdout);
}

std::byte* Map(uint64_t bytes) {
  void* memory =
      mmap(nullptr, bytes + kPiece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  const auto at = (reinterpret_cast<uintptr_t>(memory) + kPiece - 1) & ~(kPiece - 1);
  madvise(reinterpret_cast<void*>(at), bytes, MADV_HUGEPAGE);
  return reinterpret_cast<std::byte*>(at);
}

// Half of every 256 bytes is random and half repeats, so the data shrinks to about half.
void FillHalfRandom(std::byte* memory, uint64_t bytes) {
  uint64_t state = 88172645463325252U;
  for (uint64_t at = 0; at < bytes; at += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const uint64_t word = (at & 128) != 0 ? state : (state & 0xff) * 0x0101010101010101U;
    memcpy(memory + at, &word, sizeof word);
  }
}

uint64_t SumOfWords(const std::byte* memory, uint64_t bytes) {
  uint64_t sums[8] = {};
  for (uint64_t at = 0; at < bytes; at += sizeof sums) {
    uint64_t words[8];
    memcpy(words, memory + at, sizeof words);
    for (int i = 0; i < 8; i++) sums[i] += words[i];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

void MeasureBytes(std::byte* memory, uint64_t bytes) {
  std::byte* buffer = Map(2 * kPiece);
  memset(buffer, 1, 2 * kPiece);
  const auto rate = [bytes](const char* what, const std::function<void(std::byte * piece)>& work,
                            std::byte* from) {
    Print(what, "GB/s", Median([&] {
            return static_cast<double>(bytes) / 1e9 / SecondsOf([&] {
                     for (uint64_t at = 0; at < bytes; at += kPiece) work(from + at);
                   });
          }));
  };
  const auto hash_pages = [](const std::byte* piece) {
    for (uint64_t at = 0; at < kPiece; at += kPageSize) g_kept = SumOfPage(piece + at).low;
  };
  const auto test_pages = [](const std::byte* piece) {
    for (uint64_t at = 0; at < kPiece; at += kBlockSize) {
      g_kept = PresentPages(piece + at, kBlockSize);
    }
  };
  rate(
      "read", [](std::byte* piece) { g_kept = SumOfWords(piece, kPiece); }, memory);
  rate(
      "copy", [&](std::byte* piece) { memcpy(buffer, piece, kPiece); }, memory);
  rate("sums of pages", hash_pages, memory);
  std::vector<CopiedPage> pages(kPiece / kPageSize);
  rate(
      "encode flat", [&](std::byte* piece) { CopyPages(piece, kPiece, buffer, pages.data()); },
      memory);
  std::byte* zeros = Map(bytes);
  memset(zeros, 0, bytes);
  rate("zero test of zeros", test_pages, zeros);
  munmap(zeros, bytes);
}

// Compresses only a part of the memory, since it takes long.
void MeasureCodec(const std::byte* memory, uint64_t bytes) {
  const uint64_t part = std::min(bytes, uint64_t{64} << 20);
  std::vector<std::byte> workspace(BlockCompressor::WorkspaceBytes(kLevel));
  std::vector<std::byte> unpacking(BlockDecompressor::WorkspaceBytes());
  BlockCompressor compressor(workspace.data(), kLevel);
  BlockDecompressor decompressor(unpacking.data());
  std::vector<std::byte> stored(part);
  std::vector<std::byte> back(kBlockSize);
  std::vector<uint64_t> lengths(part / kBlockSize);
  Print("zstd 1, encode", "GB/s", Median([&] {
          return static_cast<double>(part) / 1e9 / SecondsOf([&] {
                   for (uint64_t i = 0; i < lengths.size(); i++) {
                     lengths[i] = compressor.Compress(memory + i * kBlockSize, kBlockSize,
                                                      stored.data() + i * kBlockSize);
                   }
                 });
        }));
  Print("zstd 1, decode", "GB/s", Median([&] {
          return static_cast<double>(part) / 1e9 / SecondsOf([&] {
                   for (uint64_t i = 0; i < lengths.size(); i++) {
                     if (!decompressor.Decompress(stored.data() + i * kBlockSize, lengths[i],
                                                  back.data(), kBlockSize)) {
                       fprintf(stderr, "a block cannot be decompressed\n");
                       exit(1);
                     }
                   }
                 });
        }));
}

// Registers the memory for write protection. Returns -1 if this kernel or user cannot do it.
int OpenUserfaultfd(std::byte* memory, uint64_t bytes, uint64_t features) {
  const auto fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
  if (fd < 0) return -1;
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = features;
  uffdio_register registration{};
  registration.range = {reinterpret_cast<uint64_t>(memory), bytes};
  registration.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &registration) == 0) return fd;
  close(fd);
  return -1;
}

bool WriteProtect(int fd, std::byte* at, uint64_t bytes, bool on) {
  uffdio_writeprotect range{};
  range.range = {reinterpret_cast<uint64_t>(at), bytes};
  range.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  return ioctl(fd, UFFDIO_WRITEPROTECT, &range) == 0;
}

double ForkSeconds() {
  return Median([] {
    pid_t child = 0;
    const double seconds = SecondsOf([&] {
      child = fork();
      if (child == 0) _exit(0);
    });
    waitpid(child, nullptr, 0);
    return seconds;
  });
}

// A JS heap of 1 GiB consists of mappings like these, with an inaccessible page between each two.
void MeasureForkBesideMappings() {
  constexpr uint64_t kMappings = 4096;
  constexpr uint64_t kEach = kBlockSize;
  std::byte* memory = Map(kMappings * kEach);
  madvise(memory, kMappings * kEach, MADV_NOHUGEPAGE);
  memset(memory, 1, kMappings * kEach);
  for (uint64_t i = 1; i <= kMappings; i++) {
    mprotect(memory + i * kEach - kPageSize, kPageSize, PROT_NONE);
  }
  Print("fork beside a JS heap of 1 GiB", "us", 1e6 * ForkSeconds());
  munmap(memory, kMappings * kEach);
}

// The memory is in intact huge pages each time, as for a capture.
void MeasureFreezes(std::byte* memory, uint64_t bytes) {
  Print("mprotect of all", "us", 1e6 * Median([&] {
                                   const double seconds =
                                       SecondsOf([&] { mprotect(memory, bytes, PROT_READ); });
                                   mprotect(memory, bytes, PROT_READ | PROT_WRITE);
                                   return seconds;
                                 }));
  Print("fork of all", "us", 1e6 * ForkSeconds());
  MeasureForkBesideMappings();
  const int fd = OpenUserfaultfd(memory, bytes, 0);
  if (fd < 0) return;
  bool protects = true;
  const double seconds = Median([&] {
    const double each = SecondsOf([&] { protects &= WriteProtect(fd, memory, bytes, true); });
    protects &= WriteProtect(fd, memory, bytes, false);
    return each;
  });
  if (protects) Print("userfaultfd of all", "us", 1e6 * seconds);
  close(fd);
}

std::byte* g_frozen;
int g_userfaultfd = -1;

void LiftOnePageOfUserfaultfd(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr) & ~(kPageSize - 1);
  WriteProtect(g_userfaultfd, reinterpret_cast<std::byte*>(at), kPageSize, false);
}

void LiftOnePage(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr) & ~(kPageSize - 1);
  mprotect(reinterpret_cast<void*>(at), kPageSize, PROT_READ | PROT_WRITE);
}

// Lower bounds of a first write: the kernel's own copy-on-write, and a fault signal whose handler
// lifts the protection of one page without copying it.
void MeasureFaults() {
  constexpr uint64_t kPages = 4096;
  g_frozen = Map(kPages * kPageSize);
  madvise(g_frozen, kPages * kPageSize, MADV_NOHUGEPAGE);
  const auto touch = [](uint64_t value) {
    for (uint64_t page = 0; page < kPages; page++) g_frozen[page * kPageSize] = std::byte(value);
  };
  touch(1);
  const auto each = [&touch] { return SecondsOf([&] { touch(2); }) / kPages; };
  Print("copy-on-write of a page after fork", "us",
        1e6 * Median([&] {
          int pipes[2];
          if (pipe(pipes) != 0) exit(1);
          const pid_t child = fork();
          if (child == 0) {
            char byte = 0;
            close(pipes[1]);
            _exit(static_cast<int>(read(pipes[0], &byte, 1)));
          }
          close(pipes[0]);
          const double seconds = each();
          close(pipes[1]);
          waitpid(child, nullptr, 0);
          return seconds;
        }));
  struct sigaction action {};
  struct sigaction before {};
  action.sa_sigaction = LiftOnePage;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &before);
  Print("signal and mprotect of a page", "us", 1e6 * Median([&] {
                                                 mprotect(g_frozen, kPages * kPageSize, PROT_READ);
                                                 return each();
                                               }));
  sigaction(SIGSEGV, &before, nullptr);
  g_userfaultfd = OpenUserfaultfd(g_frozen, kPages * kPageSize, UFFD_FEATURE_SIGBUS);
  if (g_userfaultfd < 0) return;
  action.sa_sigaction = LiftOnePageOfUserfaultfd;
  sigaction(SIGBUS, &action, &before);
  const double seconds = Median([&] {
    WriteProtect(g_userfaultfd, g_frozen, kPages * kPageSize, true);
    return each();
  });
  Print("signal and userfaultfd lift of a page", "us", 1e6 * seconds);
  sigaction(SIGBUS, &before, nullptr);
  close(g_userfaultfd);
}

void MeasureFile(const std::string& directory) {
  const std::string path = directory + "/pieces.file";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, 1 << 20) != 0) {
    perror(path.c_str());
    exit(1);
  }
  close(fd);
  constexpr int kTimes = 200;
  const auto visit = [&path](bool map) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat about {};
    fstat(file, &about);
    char page[kPageSize];
    g_kept = static_cast<uint64_t>(pread(file, page, sizeof page, 0) +
                                   pread(file, page, sizeof page, about.st_size - 4096));
    void* memory =
        map ? mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0) : nullptr;
    if (map) munmap(memory, 1 << 20);
    close(file);
  };
  const auto average = [&](bool map) {
    return 1e6 / kTimes * Median([&] {
             return SecondsOf([&] {
               for (int i = 0; i < kTimes; i++) visit(map);
             });
           });
  };
  Print("open, read two pages, close", "us", average(false));
  Print("open, read two pages, map, close", "us", average(true));
  unlink(path.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: pieces BYTES DIRECTORY\n");
    return 2;
  }
  const uint64_t bytes = strtoull(arguments[1], nullptr, 10) / kPiece * kPiece;
  std::byte* memory = Map(bytes);
  FillHalfRandom(memory, bytes);
  MeasureBytes(memory, bytes);
  MeasureCodec(memory, bytes);
  MeasureFreezes(memory, bytes);
  MeasureFaults();
  MeasureFile(arguments[2]);
  return 0;
}
