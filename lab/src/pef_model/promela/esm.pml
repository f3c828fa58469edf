/* ---- UV_ESM ---- */

inline import_page() {
	do
	:: plugged && (g != UV_SECURE || imported) -> break
	:: else ->
		requested = 1; hcall_pending = MARKS_HYPERCALLS; in_flight++;
		h_svm_page_in(0, 0);
		if
		:: !ALIVE(mine) -> outcome = ENDED; break
		:: else -> requested = 0; hcall_pending = 0; in_flight--
		fi;
		if
		:: hcode == H_SUCCESS -> imported = 1; break
		:: hcode == H_BUSY ->
			hcode = 0;
			YIELD;
			if
			:: !ALIVE(mine) -> outcome = ENDED; break
			:: else
			fi
		:: else -> outcome = FAULT; break
		fi
	od;
	hcode = 0
}

inline start_esm() {
	do
	::
		h_svm_init_start();
		if
		:: !ALIVE(mine) -> outcome = ENDED; break
		:: else
		fi;
		if
		:: hcode == H_BUSY ->
			hcode = 0;
			YIELD;
			if
			:: !ALIVE(mine) -> outcome = ENDED; break
			:: else
			fi
		:: else -> outcome = (hcode == H_SUCCESS -> FINE : FAULT); break
		fi
	od;
	hcode = 0
}

inline finish_esm() {
	do
	::
		asking_done = 1; whole = 1;
		h_svm_init_done();
		if
		:: !ALIVE(mine) -> outcome = ENDED; break
		:: else -> asking_done = 0
		fi;
		if
		:: hcode == H_SUCCESS -> imported = 0; svm = SECURE; break
		:: hcode == H_BUSY || hcode == H_STATE ->
			whole = 0;
			fetched = fetched + (hcode == H_STATE);
			if
			:: fetched == ROUNDS -> outcome = FAULT; break
			:: else
			fi;
			hcode = 0;
			YIELD;
			if
			:: !ALIVE(mine) -> outcome = ENDED; break
			:: else
			fi
		:: else -> whole = 0; outcome = FAULT; break
		fi
	od;
	fetched = 0; hcode = 0
}

inline give_up() {
	svm = ABORT;
	do
	::
		h_svm_init_abort();
		if
		:: !ALIVE(mine) -> break
		:: else
		fi;
		if
		:: hcode == H_BUSY ->
			hcode = 0;
			YIELD;
			if
			:: !ALIVE(mine) -> break
			:: else
			fi
		:: else -> break
		fi
	od;
	if
	:: ALIVE(mine) && (hcode == H_PARAMETER || hcode == H_UNSUPPORTED || hcode == H_SUCCESS) -> end_svm()
	:: else
	fi;
	hcode = 0
}

/* One phase of UV_ESM, and those that follow at once because somebody else acts, or the SVM has ended. */
inline go_on_with_esm() {
	do
	::
		outcome = FINE;
		if
		:: failure ->
			if
			:: ALIVE(mine) -> give_up()
			:: else
			fi;
			outcome = ENDED
		:: else ->
			if
			:: !ALIVE(mine) -> outcome = ENDED
			:: else ->
				if
				:: place == START -> start_esm()
				:: place == IMAGE && IS_BROUGHT ->
					if
					:: plugged -> import_page()
					:: else -> outcome = FAULT
					fi
				:: place == IMAGE && !IS_BROUGHT -> share(UV_ON_COMMIT_IMPLICIT)
				:: place == MEASURED -> outcome = (fails -> FAULT : FINE)
				:: place == IMPORT_ALL ->
					if
					:: ASKS_FOR_EVERY_GFN && plugged -> import_page()
					:: else
					fi
				:: place == DONE -> finish_esm()
				fi
			fi;
			fails = 0;
			if
			:: outcome == FAULT -> failure = 1
			:: outcome == FINE && place == DONE -> secure = 1; outcome = ENDED
			:: outcome == FINE && place == START && IS_UNMIGRATED -> place = MEASURED
			:: outcome == FINE && place != DONE && !(place == START && IS_UNMIGRATED) -> place++
			:: else
			fi
		fi;
		if
		:: outcome == ENDED -> place = NOT_OPEN; failure = 0; enters = 0; break
		:: outcome != ENDED && calling[GUEST] + calling[GUEST_TOO] + calling[VMM] + calling[MEMORY] == 1 && svm != NO_SVM -> break
		:: else
		fi
	od
}

inline enter() {
	if
	:: place == NOT_OPEN ->
		assert(!dying && svm == NO_SVM);
		forget_svm();
		svm = ACTIVE; place = START; enters = me
	:: else
	fi;
	mine = now_svm;
	go_on_with_esm()
}
