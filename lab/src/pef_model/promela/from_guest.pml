/* ---- The guest as an SVM ---- */

/* Wait for whoever has the GFN, and have it brought back; `outcome` says whether the call may go on. */
inline resolve_fault(call) {
	outcome = FINE;
	do
	::
		if
		:: svm == ABORT || !plugged -> outcome = FAULT; break
		:: else
		fi;
		missing = (UV_ACTION(call, g) == UV_DO_PAGE_IN || UV_ACTION(call, g) == UV_DO_PAGE_IN_SHARED);
		waits = (busy || hcall_pending || UV_IS_TRANSIENT(g));
		if
		:: !missing && !waits -> break
		:: (missing || waits) && fetched == TRIES -> outcome = FAULT; break
		:: else
		fi;
		if
		:: !waits ->
			shares = (UV_ACTION(call, g) == UV_DO_PAGE_IN_SHARED);
			missing = 0;
			/* Nobody waits for a fault that is reflected, so nothing is in flight. */
			reflected = (shares && REFLECTS_FAULTS && call == UV_ON_TOUCH);
			if
			:: reflected
			:: else -> hcall_pending = MARKS_HYPERCALLS; in_flight++
			fi;
			h_svm_page_in(shares, reflected);
			shares = 0;
			if
			:: !ALIVE(mine) -> reflected = 0; outcome = ENDED; break
			:: ALIVE(mine) && reflected -> reflected = 0
			:: else -> hcall_pending = 0; in_flight--
			fi;
			if
			:: hcode == H_SUCCESS -> fetched++
			:: hcode == H_BUSY -> waits = 1
			:: else -> outcome = FAULT; break
			fi
		:: else
		fi;
		if
		:: waits ->
			waits = 0; missing = 0; hcode = 0;
			YIELD;
			if
			:: !ALIVE(mine) -> outcome = ENDED; break
			:: else
			fi
		:: else
		fi
	od;
	fetched = 0; missing = 0; waits = 0; shares = 0; hcode = 0
}

inline access() {
	if
	:: svm != SECURE
	:: else ->
		mine = now_svm;
		resolve_fault(UV_ON_TOUCH);
		if
		:: outcome == FINE && UV_ACTION(UV_ON_TOUCH, g) == UV_DO_USE_NORMAL ->
			move(mine);
			if
			:: ALIVE(mine) && writes -> genuine = 0
			:: else
			fi
		:: else
		fi
	fi
}

/* Undo a share; what the Hypervisor was given back it may keep, and then the SVM is aborted. */
inline revert() {
	if
	:: svm == ABORT -> advance(UV_ON_ABORT_SHARE); outcome = FAULT
	:: else ->
		advance(UV_ON_REVERT_SHARE);
		if
		:: g == UV_HV_UNSHARING || g == UV_HV_UNSHARING_INV ->
			do
			::
				h_svm_page_in(0, 0);
				if
				:: !ALIVE(mine) -> outcome = ENDED; break
				:: else
				fi;
				if
				:: hcode == H_BUSY ->
					YIELD;
					if
					:: !ALIVE(mine) -> outcome = ENDED; break
					:: else
					fi
				:: else -> break
				fi
			od;
			if
			:: outcome == ENDED
			:: outcome != ENDED && (hcode != H_SUCCESS || svm == ABORT) ->
				svm = ABORT; advance(UV_ON_ABORT_SHARE); outcome = FAULT
			:: else ->
				advance(UV_ON_UNSHARE_GRANTED); advance(UV_ON_COMMIT_UNSHARE);
				imported = (imported || !whole)
			fi
		:: else
		fi
	fi
}

inline share(commit) {
	do
	::
		resolve_fault(UV_ON_SHARE);
		if
		:: outcome != FINE -> break
		:: else
		fi;
		if
		:: UV_ACTION(UV_ON_SHARE, g) == UV_DO_REQUEST_CHANGE ->
			in_flight++;
			advance(UV_ON_SHARE);
			h_svm_page_in(1, 0);
			if
			:: !ALIVE(mine) -> outcome = ENDED; break
			:: else
			fi;
			tries_again = (hcode == H_BUSY);
			if
			:: hcode == H_SUCCESS && svm != ABORT && g == UV_HV_SHARING -> svm = ABORT; outcome = FAULT
			:: hcode == H_SUCCESS && svm != ABORT && g == UV_HV_SHARED ->
				hcode = 0;
				move(mine);
				if
				:: !ALIVE(mine) -> outcome = ENDED; break
				:: else -> genuine = 0
				fi;
				outcome = (svm == ABORT -> FAULT : FINE)
			:: hcode == H_SUCCESS && svm != ABORT && g != UV_HV_SHARING && g != UV_HV_SHARED
			:: else -> outcome = FAULT
			fi;
			if
			:: outcome == FINE -> advance(commit); in_flight--; break
			:: else
			fi;
			outcome = FINE; hcode = 0;
			revert();
			hcode = 0;
			if
			:: outcome == ENDED -> break
			:: else -> in_flight--
			fi;
			if
			:: outcome == FAULT || !tries_again -> outcome = FAULT; break
			:: else
			fi;
			tries_again = 0;
			YIELD;
			if
			:: !ALIVE(mine) -> outcome = ENDED; break
			:: else
			fi
		:: UV_ACTION(UV_ON_SHARE, g) == UV_DO_ZERO ->
			move(mine);
			if
			:: !ALIVE(mine) -> outcome = ENDED
			:: else -> genuine = 0; outcome = (svm == ABORT -> FAULT : FINE)
			fi;
			break
		:: else -> break
		fi
	od;
	tries_again = 0; hcode = 0
}

inline unshare(call, aborts) {
	do
	::
		resolve_fault(call);
		if
		:: outcome != FINE -> break
		:: outcome == FINE && UV_ACTION(call, g) != UV_DO_REQUEST_CHANGE -> break
		:: else
		fi;
		in_flight++;
		advance(call);
		h_svm_page_in(0, 0);
		if
		:: !ALIVE(mine) -> outcome = ENDED; break
		:: else -> in_flight--
		fi;
		if
		:: hcode == H_SUCCESS && svm != ABORT ->
			advance(UV_ON_UNSHARE_GRANTED); advance(UV_ON_COMMIT_UNSHARE); break
		:: hcode == H_BUSY ->
			if
			:: mapped -> advance(UV_ON_UNSHARE_BUSY)
			:: else
			fi;
			advance(UV_ON_REVERT_UNSHARE);
			hcode = 0;
			YIELD;
			if
			:: !ALIVE(mine) -> outcome = ENDED; break
			:: else
			fi
		:: else ->
			svm = (aborts -> ABORT : svm);
			advance(UV_ON_REVERT_UNSHARE); outcome = FAULT; break
		fi
	od;
	hcode = 0
}
