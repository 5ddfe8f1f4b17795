/* Every rank says who it is; rank 0 checks that all of them came, and prints it in order. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 256 };

int main(int argc, char **argv) {
  int rank, size, length;
  char host[MPI_MAX_PROCESSOR_NAME], line[LINE];
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Get_processor_name(host, &length);
  const char *node = getenv("SLURMD_NODENAME"), *job = getenv("SLURM_JOB_ID");
  memset(line, 0, LINE);
  snprintf(line, LINE, "rank %d of %d on %s in job %s", rank, size, node ? node : "?", job ? job : "?");
  char *all = rank == 0 ? calloc((size_t)size, LINE) : NULL;
  MPI_Gather(line, LINE, MPI_CHAR, all, LINE, MPI_CHAR, 0, MPI_COMM_WORLD);
  if (rank == 0) {
    for (int i = 0; i < size; i++) printf("%s\n", all + (size_t)i * LINE);
    free(all);
  }
  MPI_Finalize();
  return 0;
}
