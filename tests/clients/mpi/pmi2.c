/* What a library does over Slurm's own PMI-2 client: every rank puts an address, all meet, and each
   reads those of all others. With an argument, that rank ends all of them instead. */
#include <slurm/pmi2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3, LINE = 256 };

static void must(int code, const char *what) {
  if (code == PMI2_SUCCESS) return;
  fprintf(stderr, "%s failed with %d\n", what, code);
  exit(9);
}

int main(int argc, char **argv) {
  int spawned, size, rank, app, found, length;
  char job[LINE], key[LINE], value[LINE], wanted[LINE], text[4096];
  must(PMI2_Init(&spawned, &size, &rank, &app), "PMI2_Init");
  must(PMI2_Job_GetId(job, sizeof job), "PMI2_Job_GetId");
  if (argc > 1 && atoi(argv[1]) == rank) PMI2_Abort(1, "enough; of this = that");
  /* An attribute of the node: one of its ranks puts it, the others wait for it. */
  const char *local = getenv("SLURM_LOCALID");
  const char *node = getenv("SLURMD_NODENAME");
  if (local && atoi(local) == 0) must(PMI2_Info_PutNodeAttr("where", node), "PMI2_Info_PutNodeAttr");
  must(PMI2_Info_GetNodeAttr("where", value, sizeof value, &found, 1), "PMI2_Info_GetNodeAttr");
  if (!found || strcmp(value, node)) return 8;
  must(PMI2_Info_GetJobAttr("PMI_process_mapping", text, sizeof text, &found), "PMI2_Info_GetJobAttr");
  if (!found || strncmp(text, "(vector,", 8)) return 7;
  must(PMI2_Info_GetJobAttr("nothing of this name", text, sizeof text, &found), "PMI2_Info_GetJobAttr");
  if (found) return 6;
  for (int round = 0; round < ROUNDS; round++) {
    snprintf(key, LINE, "address-%d-%d", round, rank);
    snprintf(value, LINE, "port %d; of %d = %d", 1000 + rank, rank, round);
    must(PMI2_KVS_Put(key, value), "PMI2_KVS_Put");
    must(PMI2_KVS_Fence(), "PMI2_KVS_Fence");
    for (int other = 0; other < size; other++) {
      snprintf(key, LINE, "address-%d-%d", round, other);
      snprintf(wanted, LINE, "port %d; of %d = %d", 1000 + other, other, round);
      must(PMI2_KVS_Get(job, PMI2_ID_NULL, key, value, sizeof value, &length), "PMI2_KVS_Get");
      if (strcmp(value, wanted)) {
        fprintf(stderr, "%s: `%s` is not `%s`\n", key, value, wanted);
        return 5;
      }
    }
  }
  printf("rank %d of %d on %s in job %s\n", rank, size, node, getenv("SLURM_JOB_ID"));
  must(PMI2_Finalize(), "PMI2_Finalize");
  return 0;
}
