/* A sum over all ranks of vectors that are too large for one message of the eager protocol. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 200000 };

int main(int argc, char **argv) {
  int rank, size, wrong = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  double *mine = malloc(COUNT * sizeof *mine), *sum = malloc(COUNT * sizeof *sum);
  if (!mine || !sum) MPI_Abort(MPI_COMM_WORLD, 2);
  for (int i = 0; i < COUNT; i++) mine[i] = (double)(rank + 1) * (i % 97);
  for (int round = 0; round < 5; round++)
    MPI_Allreduce(mine, sum, COUNT, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  double ranks = size * (size + 1) / 2.0;
  for (int i = 0; i < COUNT; i++) wrong += sum[i] != ranks * (i % 97);
  int all_wrong = 0;
  MPI_Reduce(&wrong, &all_wrong, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0) printf("sum over %d ranks: %d wrong\n", size, all_wrong);
  free(mine);
  free(sum);
  MPI_Finalize();
  return wrong != 0;
}
