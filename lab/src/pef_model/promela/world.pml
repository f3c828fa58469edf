/* ---- The actors ---- */

proctype actor(byte me) {
	byte mine, named, of_svm, answered_svm, ucode, hcode, event, hevent, next, before, outcome, fetched, obstacle;
	bit whole_message, opens, in_clear, fresh, is_out, alone, again, gone, missing, waits, shares, reflected, tries_again, fails, writes;
	atomic {
		do
		:: who == me ->
			if
			:: act == LOAD || act == STORE ->
				writes = (act == STORE); act = 0;
				if
				:: secure -> access()
				:: else -> normal_access()
				fi
			:: act == SHARE || act == UNSHARE || act == UNSHARE_ALL ->
				if
				:: svm != SECURE -> act = 0
				:: else ->
					mine = now_svm;
					if
					:: !plugged -> act = 0
					:: plugged && act == SHARE -> act = 0; share(UV_ON_COMMIT_SHARED)
					:: plugged && act == UNSHARE ->
						act = 0;
						if
						:: UV_IS_KEPT_SHARED(g)
						:: else -> unshare(UV_ON_UNSHARE, 1)
						fi
					:: plugged && act == UNSHARE_ALL -> act = 0; unshare(UV_ON_UNSHARE_ALL, 0)
					fi
				fi
			:: act == UV_ESM || act == BAD_ESM -> fails = (act == BAD_ESM); act = 0; enter()
			:: act == RESET -> act = 0; reset_vm()
			:: act == READ || act == WRITE -> writes = (act == WRITE); act = 0; host_access()
			:: act == UNMAP -> act = 0; unmap_page()
			fi;
			mine = 0; outcome = 0; writes = 0; answered_svm = 0;
			assert(!named && !of_svm && !ucode && !hcode && !event && !hevent && !next && !before && !fetched);
			assert(!obstacle && !whole_message && !opens && !in_clear && !fresh && !is_out && !alone && !again);
			assert(!gone && !missing && !waits && !shares && !reflected && !tries_again && !fails);
			calling[me] = 0;
			who = NOBODY
		od
	}
}

/* A UV_ESM between two phases, and nobody in it: only the host acts on the GFN then, or the next phase begins. */
#define STANDS	(place != NOT_OPEN && !calling[enters])
#define MAY_BEGIN(caller)	(!calling[caller] && !STANDS && begun < CALLS)
#define MAY_ENTER	(place == NOT_OPEN && svm == NO_SVM && !secure)
#define MAY_MEANWHILE(caller)	(!calling[caller] && (!STANDS || begun == 0) && begun < CALLS)

inline begin(caller, action) {
	calling[caller] = 1; begun++; act = action; who = caller
}

init {
	c_code { show_at_end(); }
	atomic {
		run actor(GUEST); run actor(GUEST_TOO); run actor(VMM); run actor(MEMORY);
		do		/* any of the models */
		:: model < MODELS - 1 -> model++
		:: break
		od;
		do
		:: who == NOBODY ->
			if
			:: AT_REST -> rest()
			:: else
			fi;
			if
			:: calling[GUEST] -> who = GUEST
			:: calling[GUEST_TOO] -> who = GUEST_TOO
			:: calling[VMM] -> who = VMM
			:: calling[MEMORY] -> who = MEMORY
			:: MAY_BEGIN(GUEST) -> begin(GUEST, LOAD)
			:: MAY_BEGIN(GUEST) -> begin(GUEST, STORE)
			:: MAY_BEGIN(GUEST) && secure -> begin(GUEST, SHARE)
			:: MAY_BEGIN(GUEST) && secure -> begin(GUEST, UNSHARE)
			:: MAY_BEGIN(GUEST) && secure -> begin(GUEST, UNSHARE_ALL)
			:: MAY_BEGIN(GUEST) -> begin(GUEST, RESET)
			:: MAY_BEGIN(GUEST) && MAY_ENTER -> begin(GUEST, UV_ESM)
			:: TWO_VCPUS && MAY_BEGIN(GUEST_TOO) -> begin(GUEST_TOO, LOAD)
			:: TWO_VCPUS && MAY_BEGIN(GUEST_TOO) -> begin(GUEST_TOO, STORE)
			:: TWO_VCPUS && MAY_BEGIN(GUEST_TOO) && secure -> begin(GUEST_TOO, SHARE)
			:: TWO_VCPUS && MAY_BEGIN(GUEST_TOO) && secure -> begin(GUEST_TOO, UNSHARE)
			:: TWO_VCPUS && MAY_BEGIN(GUEST_TOO) && secure -> begin(GUEST_TOO, UNSHARE_ALL)
			:: TWO_VCPUS && MAY_BEGIN(GUEST_TOO) -> begin(GUEST_TOO, RESET)
			:: TWO_VCPUS && MAY_BEGIN(GUEST_TOO) && MAY_ENTER -> begin(GUEST_TOO, UV_ESM)
			:: STANDS && begun == 0 -> begin(enters, UV_ESM)
			:: STANDS && begun == 0 && place == MEASURED && !failure -> begin(enters, BAD_ESM)
			:: MAY_MEANWHILE(VMM) -> begin(VMM, READ)
			:: MAY_MEANWHILE(VMM) -> begin(VMM, WRITE)
			:: MAY_BEGIN(VMM) -> begin(VMM, RESET)
			:: MAY_MEANWHILE(MEMORY) -> begin(MEMORY, READ)
			:: MAY_MEANWHILE(MEMORY) -> begin(MEMORY, UNMAP)
			fi
		od
	}
}
