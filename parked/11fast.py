# depth 64 within a chapter's CPU: hand-batched (bmm), seeds as a leading axis, as a vmapped chapter could do with nn.BatchNorm1d
from common import *
import importlib.util
src=open('11.py').read(); exec(src[src.index('class Block'):src.index('data=load')])
data=load_data("mnist1d")
import time
for H,K,T in ():
    for name,kw in {'none':{},'BN':dict(norm=BatchNorm),'BN torch':dict(norm=nn.BatchNorm1d),'SkipInit':dict(skip=True),'1/sqrtK':dict(scale=K**-.5)}.items():
        c=time.process_time()
        for lr in ((1e-2,) if T==60 else (1e-3,1e-2,5e-2)):
            if T==100 and name=='BN torch': continue
            f=fit(lambda:Res(K,H=H,last_relu=True,**kw),data,learning_rate=lr,steps=T,batch_size=100,seeds=SEEDS,show_progress=False)
            print(f'   {H=} {T=} {name:9s} lr {lr:g} last 20 {ms(f.loss[-20:].mean(0))}')
        print(f'      CPU {time.process_time()-c:.1f}',flush=True)
print('slopes by width'); k=np.arange(21)
for H in (400,):
    sl=[];lin=[];Ms=[]
    for s in SEEDS:
        net=build(lambda:Res(20,H=H),s); x,y=data.x[:200],data.y[:200]; sig=signal_propagation(lambda:cross_entropy(net(x),y),net,[net.stem,*net.blocks]); sl.append(linfit(k,np.log2(sig.second_moment.numpy()))[0])
        net=build(lambda:Res(20,H=H,norm=BatchNorm),s); sig=signal_propagation(lambda:cross_entropy(net(x),y),net,[net.stem,*net.blocks]); lin.append(linfit(k,sig.second_moment.numpy())[0])
    print('  ',H,'log2 slope',ms(sl),'BN slope',ms(lin)); lap(H)
for n in (20,100):
    M=[]
    for s in range(100,100+n):
        net=build(lambda:Res(20),s); x,y=data.x[:200],data.y[:200]
        sig=signal_propagation(lambda:cross_entropy(net(x),y),net,[net.stem,*net.blocks]); M.append(sig.second_moment.numpy())
    print('   log2 slope of the MEAN second moment over',n,'inits, width 100:',linfit(k,np.log2(np.mean(M,0)))[0]); lap(n)
