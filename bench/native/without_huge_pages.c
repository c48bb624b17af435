// Runs a program without transparent huge pages for it and its children, as on a host where
// /sys/kernel/mm/transparent_hugepage/enabled is `never`.
//
//   without_huge_pages PROGRAM ARGUMENT...
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char** arguments) {
  if (count < 2) {
    fprintf(stderr, "usage: without_huge_pages PROGRAM ARGUMENT...\n");
    return 2;
  }
  if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) {
    perror("prctl(PR_SET_THP_DISABLE)");
    return 1;
  }
  execv(arguments[1], arguments + 1);
  perror(arguments[1]);
  return 1;
}
