/* ---- The VMM, and host memory management ---- */

inline host_access() {
	if
	:: closer
	:: else ->
		turn[me] = 1;
		do
		::
			if
			:: h_busy -> again = 1
			:: !h_busy && HV_ACTION(HV_ON_HOST_TOUCH, h) != HV_DO_PAGE_OUT ->
				if
				:: writes -> host_populated = 1; genuine = 0
				:: else
				fi;
				break
			:: else ->
				next = HV_NEXT(HV_ON_HOST_TOUCH, h);
				page_out();
				next = 0;
				if
				:: ucode != U_SUCCESS -> break
				:: else
				fi
			fi;
			if
			:: again ->
				if
				:: ending[me] -> break
				:: else -> YIELD
				fi
			:: else -> again = 1
			fi
		od;
		again = 0; ucode = 0; whole_message = 0;
		leave()
	fi
}

inline unmap_page() {
	if
	:: closer
	:: else ->
		turn[me] = 1;
		do
		:: h_busy ->
			if
			:: ending[me] -> break
			:: else -> YIELD
			fi
		:: else ->
			if
			:: registered && HV_ACTION(HV_ON_UNMAP, h) == HV_DO_INVALIDATE -> send_batch(SEND_PAGE_INVAL)
			:: else
			fi;
			break
		od;
		ucode = 0; whole_message = 0;
		leave()
	fi
}

inline reset_vm() {
	if
	:: closer && closer != holder
	:: else ->
		close_to_others();
		wait_until_alone();
		assert(alone);
		alone = 0;
		if
		:: vm == VM_NORMAL -> end_svm_of_vm(0)
		:: else ->
			gone = registered;
			if
			:: registered ->
				named = meant_svm;
				call_once(SEND_UNREGISTER);
				named = 0;
				registered = (ucode != U_SUCCESS)
			:: else
			fi;
			gone = gone && !registered;
			end_svm_of_vm(0);
			if
			:: ucode == U_SUCCESS || gone ->
				vm = VM_TRANSIENT; must_abort = 1;
				h = HV_NEXT(HV_ON_FORGET, h);
				if
				:: stand_in -> scrub()
				:: else
				fi
			:: else
			fi;
			gone = 0;
			if
			:: ucode == U_SUCCESS ->
				call_with_retry(SEND_WRITE_PATE, 0);
				do
				:: ucode == U_PERMISSION ->
					YIELD;
					end_svm_of_vm(0);
					if
					:: ucode != U_SUCCESS -> break
					:: else -> call_with_retry(SEND_WRITE_PATE, 0)
					fi
				:: else -> break
				od
			:: else
			fi
		fi;
		if
		:: ucode == U_SUCCESS -> make_plain(); secure = 0
		:: else
		fi;
		ucode = 0; whole_message = 0;
		closer = (closer == me + 1 -> 0 : closer);
		leave()
	fi;
	if
	:: svm == NO_SVM -> secure = 0
	:: else
	fi
}

/* ---- The guest as a normal VM ---- */

inline normal_access() {
	if
	:: closer
	:: else ->
		turn[me] = 1;
		do
		:: VM_CODE(VM_ON_START_VM, vm) != H_SUCCESS -> break
		:: VM_CODE(VM_ON_START_VM, vm) == H_SUCCESS && !h_busy ->
			if
			:: writes -> host_populated = 1; genuine = 0
			:: else
			fi;
			break
		:: else ->
			if
			:: ending[me] -> break
			:: else -> YIELD
			fi
		od;
		leave()
	fi
}
