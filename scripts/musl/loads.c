// Loads an addon as Node does, without Node: every symbol has to be there at once, and the addon has to say which version
// of Node-API it is for. Prints what it says.

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

int main(int count, char** words) {
  if (count != 2) return 2;
  void* addon = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
  if (addon == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  int32_t (*version)(void) = (int32_t(*)(void))dlsym(addon, "node_api_module_get_api_version_v1");
  if (version == NULL || dlsym(addon, "napi_register_module_v1") == NULL) return 1;
  printf("loads, for Node-API %d\n", version());
  return 0;
}
