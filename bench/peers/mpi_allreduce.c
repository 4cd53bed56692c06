/* One rank of Open MPI in bench/all-reduce.ts: MPI_Allreduce of floats, timed.
 *
 * Started by mpirun with the number of bytes and a prefix; each rank reads its orders (`run N`) from the named pipe
 * <prefix>-<rank>, because a rank that waited inside MPI would poll and take a core from the others' measurements. It
 * answers with one line of JSON in the named pipe <prefix>-<rank>-out.
 *
 *   mpicc -O3 -march=native mpi_allreduce.c -o mpi_allreduce
 *
 * Does not: choose a transport; mpirun's arguments do.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *memory(size_t bytes) {
  void *data = NULL;
  if (posix_memalign(&data, 2 << 20, bytes) != 0) exit(1);
  memset(data, 0, bytes);
  return data;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  MPI_Init(&argc, &argv);
  int rank, world;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &world);
  int count = atoi(argv[1]) / 4;
  float *data = memory(count * sizeof(float)), *sum = memory(count * sizeof(float));

  for (int i = 0; i < count; i++) data[i] = (float)(i % 1000 * (rank + 1));
  MPI_Allreduce(data, sum, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  for (int i = 0; i < count; i++)
    if (sum[i] != (float)(i % 1000 * (world * (world + 1) / 2))) MPI_Abort(MPI_COMM_WORLD, 1);
  memset(data, 0, count * sizeof(float));

  char path[512];
  snprintf(path, sizeof path, "%s-%d", argv[2], rank);
  FILE *orders = fopen(path, "r");
  snprintf(path, sizeof path, "%s-%d-out", argv[2], rank);
  FILE *answers = fopen(path, "w");
  if (orders == NULL || answers == NULL) MPI_Abort(MPI_COMM_WORLD, 1);
  fprintf(answers, "\"ready\"\n");
  fflush(answers);
  char what[16];
  int times;
  while (fscanf(orders, "%15s %d", what, &times) == 2) {
    for (int i = 0; i < times; i++) {
      MPI_Barrier(MPI_COMM_WORLD);
      double began = MPI_Wtime();
      /* In place, as ours is, or into another array: what is faster there is what counts. */
      if (strcmp(what, "run") == 0)
        MPI_Allreduce(MPI_IN_PLACE, data, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      else
        MPI_Allreduce(data, sum, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      fprintf(answers, "%s%.6f", i == 0 ? "[" : ",", (MPI_Wtime() - began) * 1000);
    }
    fprintf(answers, "]\n");
    fflush(answers);
  }
  MPI_Finalize();
  return 0;
}
