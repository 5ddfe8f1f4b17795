/* A token goes round the ring of all ranks; with an argument, that rank ends with code 6 instead. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 50, TAG = 7 };

int main(int argc, char **argv) {
  int rank, size, token = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (argc > 1 && atoi(argv[1]) == rank) MPI_Abort(MPI_COMM_WORLD, 6);
  int next = (rank + 1) % size, before = (rank + size - 1) % size;
  for (int round = 0; round < ROUNDS; round++) {
    int got = 0;
    token += rank == 0;
    MPI_Sendrecv(&token, 1, MPI_INT, next, TAG, &got, 1, MPI_INT, before, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    token = got;
  }
  /* What left rank 0 in round r is with rank r mod size; each pass of rank 0 added one. */
  int sum = 0;
  MPI_Reduce(&token, &sum, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0) printf("ring of %d: %d\n", size, sum);
  MPI_Finalize();
  return 0;
}
