// The library that tests load: the kernels under the shim, and a table of the instances the build was asked for.
// -DMSDA_SOURCE='"..."' names the source string's file, -DMSDA_TABLE='"..."' a file of ENTRY(kernel<...>) lines.
#include "shim.h"
#include MSDA_SOURCE

#define ENTRY(...) {#__VA_ARGS__, [](const void* p) { __VA_ARGS__(*static_cast<const Params*>(p)); }},
struct Entry {
  const char* name;
  void (*run)(const void*);
};
static const Entry entries[] = {
#include MSDA_TABLE
};

extern "C" {
int msda_sizeof_params() { return int(sizeof(Params)); }
const char* msda_message() { return host::message; }
// 0: done; 1: refused, see msda_message(); 2: no such instance.
int msda_launch(const char* name, const void* params, int grid, int threads, const host::Buffer* list, int count) {
  for (const Entry& e : entries)
    if (std::strcmp(e.name, name) == 0) return host::launch(e.run, params, grid, threads, list, count);
  return 2;
}
int msda_run_start(int units, int block, int blocks) { return run_start(units, block, blocks); }
}
