/* move_pages(2) as a C program calls it, with the clock around nothing else: the least that a move of pages can take. */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec * 1e-9;
}

/* The seconds that the call took, or -1 if it did not move all pages. */
double bare_move_pages(unsigned long count, void **pages, const int *nodes, int *status, int flags)
{
	double began = now();

	if (syscall(SYS_move_pages, 0, count, pages, nodes, status, flags) != 0)
		return -1;
	return now() - began;
}
