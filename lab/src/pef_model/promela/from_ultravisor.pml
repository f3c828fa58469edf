/* ---- The Hypervisor: hypercalls ---- */

#define MEANT	(meant_svm == 0 || meant_svm == mine || (vm == VM_NORMAL && !abort_due) || (LATER(mine, meant_svm) && closer))
#define MAY_START	(LATER(mine, meant_svm) && (next_svm == 0 || mine >= next_svm))

inline leave() {
	turn[me] = 0; ending[me] = 0
}

/* `is_fault`: the Ultravisor reflects a fault. What is not secure is sent then, and stays what it is. */
inline h_svm_page_in(is_share, is_fault) {
	YIELD;
	if
	:: !MEANT -> hcode = NOT_MEANT
	:: else ->
		if
		:: vm == VM_NORMAL || must_abort -> hcode = H_UNSUPPORTED
		:: vm != VM_NORMAL && !must_abort && closer -> hcode = H_BUSY
		:: else ->
			turn[me] = 1;
			hevent = (is_share -> HV_ON_SHARE : HV_ON_PAGE_IN);
			hcode = (is_fault -> H_SUCCESS : HV_CODE(hevent, h));
			if
			:: h_busy -> hcode = H_BUSY
			:: else
			fi;
			if
			:: hcode != H_SUCCESS || HV_ACTION(hevent, h) == HV_DO_NOTHING || (is_fault && h == HV_SECURE)
			:: else ->
				next = (is_fault -> h : HV_NEXT(hevent, h));
				if
				:: HV_ACTION(hevent, h) == HV_DO_PAGE_IN && h == HV_NORMAL && !host_populated && !sent -> h = next
				:: else ->
					if
					:: is_share ->
						fresh = (h == HV_SECURE);
						send_batch(SEND_PAGE_TO_SHARE);
						if
						:: ucode == U_SUCCESS -> h = next; host_populated = 1; stand_in = (fresh || stand_in)
						:: ucode != U_SUCCESS && ucode != U_BUSY && fresh -> scrub()
						:: else
						fi;
						fresh = 0
					:: else -> page_in()
					fi;
					hcode = (ucode == U_SUCCESS -> H_SUCCESS : (ucode == U_BUSY -> H_BUSY : H_PARAMETER));
					ucode = 0; whole_message = 0
				fi;
				next = 0
			fi;
			hevent = 0;
			leave()
		fi
	fi;
	YIELD
}

inline h_svm_init_start() {
	YIELD;
	if
	:: !MAY_START -> hcode = NOT_MEANT
	:: else ->
		if
		:: VM_CODE(VM_ON_INIT_START, vm) == H_STATE -> hcode = H_STATE
		:: VM_CODE(VM_ON_INIT_START, vm) != H_STATE && (holder || closer) -> hcode = H_BUSY
		:: else ->
			turn[me] = 1; holder = me + 1;
			vm = VM_NEXT(VM_ON_INIT_START, vm); must_abort = 1; abort_due = 0; meant_svm = mine;
			call_with_retry(SEND_REGISTER, mine);
			registered = (ucode == U_SUCCESS);
			if
			:: ucode == UNMADE -> vm = VM_NORMAL; abort_due = 1
			:: else
			fi;
			must_abort = (ucode != U_SUCCESS && vm == VM_TRANSIENT);
			hcode = (ucode == U_SUCCESS -> H_SUCCESS : H_PARAMETER);
			ucode = 0; whole_message = 0;
			holder = 0; leave()
		fi
	fi;
	YIELD
}

#define UNMIGRATED(event, state)	(HV_ACTION(event, state) == HV_DO_MARK || HV_ACTION(event, state) == HV_DO_PAGE_IN)
#define LEFT_AS_IT_IS(code)	((code == U_P2 && LEAVES_U_P2) || (code == U_PARAMETER && LEAVES_U_PARAMETER) || (code == U_RETRY && LEAVES_U_RETRY))

/* Treat a GFN that was not asked for as the design says; `obstacle`: the hypercall's code where that can't be. */
inline migrate_remaining() {
	obstacle = H_SUCCESS;
	do
	:: h_busy && UNMIGRATED(HV_ON_INIT_DONE, h) ->
		if
		:: ending[me] -> obstacle = H_BUSY; break
		:: else -> YIELD
		fi
	:: else -> break
	od;
	if
	:: obstacle == H_SUCCESS && UNMIGRATED(HV_ON_INIT_DONE, h) ->
		if
		:: HV_ACTION(HV_ON_INIT_DONE, h) == HV_DO_PAGE_IN && (host_populated || sent) ->
			next = HV_NEXT(HV_ON_INIT_DONE, h);
			page_in();
			next = 0;
			if
			:: whole_message -> obstacle = H_STATE
			:: !whole_message && ucode == U_BUSY -> obstacle = H_BUSY
			:: !whole_message && ucode != U_SUCCESS && ucode != U_BUSY && !LEFT_AS_IT_IS(ucode) -> obstacle = H_STATE
			:: else
			fi;
			ucode = 0; whole_message = 0
		:: else ->
			h = HV_NEXT(HV_ON_INIT_DONE, h);
			if
			:: host_populated -> scrub()
			:: else
			fi
		fi
	:: else
	fi
}

inline h_svm_init_done() {
	YIELD;
	if
	:: !MEANT -> hcode = NOT_MEANT
	:: else ->
		if
		:: VM_CODE(VM_ON_INIT_DONE, vm) == H_UNSUPPORTED -> hcode = H_UNSUPPORTED
		:: VM_CODE(VM_ON_INIT_DONE, vm) == H_STATE -> hcode = H_STATE
		:: else ->
			if
			:: must_abort -> hcode = H_STATE
			:: !must_abort && (holder || closer) -> hcode = H_BUSY
			:: else ->
				turn[me] = 1; holder = me + 1;
				migrate_remaining();
				if
				:: obstacle == H_SUCCESS -> vm = VM_NEXT(VM_ON_INIT_DONE, vm)
				:: else
				fi;
				hcode = (vm == VM_SECURE -> H_SUCCESS : (obstacle == H_BUSY -> H_BUSY : H_STATE));
				obstacle = 0;
				holder = 0; leave()
			fi
		fi
	fi;
	YIELD
}

inline give_up_page() {
	h = HV_NEXT(HV_ON_FORGET, h); scrub()
}

inline fetch_secure() {
	if
	:: HV_ACTION(HV_ON_INIT_ABORT, h) == HV_DO_RESTORE_CLEARTEXT ->
		next = HV_NEXT(HV_ON_INIT_ABORT, h);
		if
		:: !sent -> h = next
		:: else ->
			send_batch(SEND_PAGE_OUT);
			if
			:: ucode == U_SUCCESS -> h = next; host_populated = 1; stand_in = 0
			:: ucode != U_SUCCESS && whole_message -> obstacle = H_STATE
			:: ucode == U_BUSY && !whole_message -> obstacle = H_BUSY
			:: else -> give_up_page()
			fi;
			ucode = 0; whole_message = 0
		fi;
		next = 0
	:: else
	fi
}

inline find_paged_out() {
	if
	:: HV_ACTION(HV_ON_INIT_ABORT, h) == HV_DO_RESTORE_STAND_IN && stand_in ->
		next = HV_NEXT(HV_ON_INIT_ABORT, h);
		send_batch(SEND_PAGE_OUT);
		if
		:: ucode == U_SUCCESS -> h = next; stand_in = 0
		:: ucode != U_SUCCESS && whole_message -> obstacle = H_STATE
		:: ucode == U_BUSY && !whole_message -> obstacle = H_BUSY
		:: ucode == U_PARAMETER && !whole_message -> is_out = 1
		:: else -> give_up_page()
		fi;
		next = 0; ucode = 0; whole_message = 0
	:: else
	fi
}

/* Make the GFN normal, with its bytes in clear; `obstacle` as above. */
inline restore_cleartext() {
	obstacle = H_SUCCESS;
	fetch_secure();
	if
	:: obstacle == H_SUCCESS -> find_paged_out()
	:: else
	fi;
	do
	:: obstacle == H_SUCCESS && is_out ->
		next = HV_NEXT(HV_ON_PAGE_IN, h);
		page_in();
		next = 0;
		if
		:: whole_message -> obstacle = H_STATE
		:: !whole_message && ucode == U_BUSY -> obstacle = H_BUSY
		:: !whole_message && ucode != U_BUSY && ucode != U_SUCCESS -> give_up_page()
		:: else
		fi;
		ucode = 0; whole_message = 0;
		fetch_secure();
		is_out = stand_in
	:: else -> break
	od;
	is_out = 0;
	if
	:: obstacle == H_SUCCESS ->
		if
		:: stand_in && h != HV_SHARED -> give_up_page()
		:: else
		fi;
		h = HV_NEXT(HV_ON_INIT_ABORT, h)
	:: else
	fi
}

inline make_plain() {
	sent = 0; stand_in = 0; registered = 0;
	vm = VM_NEXT(VM_ON_UV_SVM_TERMINATE, vm); must_abort = 0; abort_due = 0
}

inline close_to_others() {
	turn[me] = 1; closer = me + 1;
	ending[GUEST] = (ending[GUEST] || (turn[GUEST] && me != GUEST));
	ending[GUEST_TOO] = (ending[GUEST_TOO] || (turn[GUEST_TOO] && me != GUEST_TOO));
	ending[VMM] = (ending[VMM] || (turn[VMM] && me != VMM));
	ending[MEMORY] = (ending[MEMORY] || (turn[MEMORY] && me != MEMORY))
}

inline wait_until_alone() {
	do
	:: turn[GUEST] + turn[GUEST_TOO] + turn[VMM] + turn[MEMORY] == 1 -> alone = 1; break
	:: else ->
		if
		:: ending[me] -> break
		:: else -> YIELD
		fi
	od
}

inline h_svm_init_abort() {
	YIELD;
	if
	:: !MEANT -> hcode = NOT_MEANT
	:: else ->
		if
		:: !abort_due && VM_CODE(VM_ON_INIT_ABORT, vm) == H_UNSUPPORTED -> hcode = H_UNSUPPORTED
		:: VM_CODE(VM_ON_INIT_ABORT, vm) == H_STATE -> hcode = H_STATE
		:: else ->
			if
			:: holder || closer -> hcode = H_BUSY
			:: else ->
				holder = me + 1;
				close_to_others();
				wait_until_alone();
				if
				:: !alone -> hcode = H_BUSY
				:: else ->
					must_abort = !abort_due;
					restore_cleartext();
					if
					:: obstacle == H_SUCCESS ->
						end_svm_of_vm(meant_svm);
						obstacle = (ucode == U_SUCCESS -> H_SUCCESS : (ucode == U_BUSY -> H_BUSY : H_STATE));
						ucode = 0; whole_message = 0
					:: else
					fi;
					if
					:: obstacle == H_SUCCESS -> make_plain(); hcode = H_PARAMETER
					:: else -> hcode = obstacle
					fi;
					obstacle = 0
				fi;
				alone = 0;
				closer = (closer == me + 1 -> 0 : closer);
				holder = 0; leave()
			fi
		fi
	fi;
	YIELD
}
