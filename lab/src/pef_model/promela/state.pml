/* Both sides on one GFN, for SPIN: every order of the steps of the calls of one VM.
 *
 * What is written here by hand are the operations of both sides. The tables, the settings of the design, and the
 * part that the GFN plays in UV_ESM stand before this text: `tables.py` writes them from the services' own data.
 *
 * A step of an operation ends where others may act: a message is sent, it has been carried out, bytes move, or
 * somebody waits. `YIELD` is such a place, and there is no other. The process `init` says who makes the next
 * step, and begins new calls. No message is lost and none acts twice; there is room for every page.
 *
 * What bytes a page holds decides nothing but one thing, which is kept: `genuine`, that the normal page still
 * holds what the Ultravisor sealed. Times are not kept: what is tried again can be tried again.
 */

#define GUEST	0
#define GUEST_TOO	1
#define VMM	2
#define MEMORY	3
#define NOBODY	4

#define LOAD	1
#define STORE	2
#define SHARE	3
#define UNSHARE	4
#define UNSHARE_ALL	5
#define UV_ESM	6
#define BAD_ESM	7
#define RESET	8
#define READ	9
#define WRITE	10
#define UNMAP	11

#define NO_SVM	0
#define ACTIVE	1
#define SECURE	2
#define ABORT	3

#define START	0
#define IMAGE	1
#define MEASURED	2
#define IMPORT_ALL	3
#define DONE	4
#define NOT_OPEN	9

#define SEND_PAGE_IN	0
#define SEND_PAGE_OUT	1
#define SEND_PAGE_INVAL	2
#define SEND_REGISTER	3
#define SEND_UNREGISTER	4
#define SEND_TERMINATE	5
#define SEND_WRITE_PATE	6
#define SEND_PAGE_TO_SHARE	7

#define FINE	0
#define FAULT	1
#define ENDED	2

#define CALLS	2
#define TRIES	4
#define ROUNDS	4

/* Which of the models this is: it is chosen once. */
short model;

/* Who makes the next step, what begins, and how many calls have begun since the last rest. */
byte who = NOBODY;
byte act;
byte begun;
bit calling[4];

/* The Ultravisor. `now_svm` numbers the SVMs: it grows when one ends. `moving`: bytes are under way. */
byte svm;
byte now_svm = 2;
bit dying;
byte moving;
bit asking_done;
bit whole;
bit plugged;
byte g;
bit busy;
bit hcall_pending;
bit requested;
bit imported;
bit mapped;
byte pinned;
byte in_flight;
bit recorded;
bit genuine;

/* The Hypervisor. `holder` has the VM to itself, `closer` lets nobody in (an actor and 1, or 0). */
byte vm;
bit must_abort;
bit abort_due;
byte meant_svm;
byte next_svm;
bit registered;
byte h;
bit h_busy;
bit host_populated;
bit sent;
bit stand_in;
bit turn[4];
bit ending[4];
byte holder;
byte closer;

/* The guest: whether it runs under the Ultravisor, which vCPU makes UV_ESM, the next phase, and whether it has failed. */
bit secure;
byte enters;
byte place = NOT_OPEN;
bit failure;

#define YIELD	who = NOBODY; (who == me)
#define ALIVE(number)	(svm != NO_SVM && now_svm == number)
#define LATER(one, other)	(other == 0 || one > other)
#define AT_REST	(!calling[GUEST] && !calling[GUEST_TOO] && !calling[VMM] && !calling[MEMORY])

/* ---- What was seen at rest ---- */

/* The number of the last state at rest: it tells where a step began. */
short last_rest;

c_decl {
\#include <stdlib.h>
\#include <string.h>
\#define ROW 22
\#define ROWS (1 << 15)
\#define STEPS (1 << 20)
	static unsigned char rows[ROWS][ROW];
	static int step[STEPS][2];
	static int kept, steps;

	static int number_of(const unsigned char *row) {
		static int place[ROWS * 4];
		unsigned long at = 2166136261u;
		for (int each = 0; each < ROW; each++) at = (at ^ row[each]) * 16777619u;
		for (at %= ROWS * 4; place[at]; at = (at + 1) % (ROWS * 4))
			if (!memcmp(rows[place[at]], row, ROW)) return place[at];
		if (++kept == ROWS) { printf("error: too many states at rest\n"); exit(1); }
		memcpy(rows[kept], row, ROW);
		return place[at] = kept;
	}

	static void note_step(int one, int other) {
		unsigned long at = (one * 40503ul + other) * 2654435761ul % STEPS;
		for (; step[at][0]; at = (at + 1) % STEPS)
			if (step[at][0] == one && step[at][1] == other) return;
		if (++steps > STEPS / 2) { printf("error: too many steps\n"); exit(1); }
		step[at][0] = one;
		step[at][1] = other;
	}

	static void show(void) {
		for (int row = 1; row <= kept; row++) {
			printf("rest %d %d", row, rows[row][0] + 256 * rows[row][1]);
			for (int each = 2; each < ROW; each++) printf(" %d", rows[row][each]);
			printf("\n");
		}
		for (int at = 0; at < STEPS; at++)
			if (step[at][0]) printf("step %d %d\n", step[at][0], step[at][1]);
	}

	static void show_at_end(void) { static int done; if (!done++) atexit(show); }
}

inline rest() {
	/* The numbers of SVMs matter only as compared with the present one. */
	meant_svm = (meant_svm == 0 -> 0 : (meant_svm == now_svm -> 2 : 1));
	next_svm = (next_svm == 0 -> 0 : (next_svm == now_svm -> 2 : 1));
	now_svm = 2;
	begun = 0;
	assert(!dying && !moving && !pinned && !busy && !hcall_pending && !requested && !h_busy && !holder && !closer);
	assert(!turn[GUEST] && !turn[GUEST_TOO] && !turn[VMM] && !turn[MEMORY] && !in_flight && !asking_done);
	c_code {
		int named = (now.abort_due || now.vm != 0) && now.meant_svm == now.now_svm;
		unsigned char row[ROW] = {
			now.model & 255, now.model >> 8,
			now.svm, now.whole, now.svm && now.plugged ? now.g : 255, now.imported, now.mapped, now.recorded,
			now.recorded && now.genuine, now.vm, now.must_abort, now.abort_due, 0, now.registered, now.h,
			now.host_populated, now.vm == VM_SECURE ? 0 : now.sent, now.stand_in, named, now.secure,
			now.place, now.failure };
		int number = number_of(row);
		if (now.last_rest) note_step(now.last_rest, number);
		now.last_rest = number;
	}
}
